"""The outside parts of the suite: where each is, and how to get one that is not here.

A part made by `scripts/setup --tools` is taken from the cache, pinned; only without it one from PATH that is
good enough.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import outside_parts

__all__ = ["PARTS", "ROOT", "VECTORS", "Part", "find", "required", "the"]

ROOT = Path(__file__).resolve().parents[2]
VECTORS = Path(os.environ.get("SIGNERD_VECTORS") or ROOT.parent / "shared" / "vectors")
TOOLS = "run scripts/setup --tools"
SYSTEM = "run scripts/setup --system as root"


@dataclass(frozen=True, slots=True)
class Part:
    """How to find a part (a path, or None) and how to get it."""

    locate: Callable[[], Path | None]
    obtain: str


def _present(path: Path) -> Path | None:
    return path if path.exists() else None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _at_least(name: str, command: str, wanted: tuple[int, ...]) -> Path | None:
    """A command on PATH whose first dotted number is at least the wanted one."""
    path = _on_path(name)
    if path is None:
        return None
    shown = subprocess.run([path, command], capture_output=True, text=True, check=False, timeout=30)
    number = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)", shown.stdout + shown.stderr)
    return path if number and tuple(map(int, number.groups())) >= wanted else None


def _library(name: str) -> Path | None:
    """A module (PKCS#11, OpenSSL) where Debian puts it."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{name}"))), None)


def _module(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    return Path(found.origin) if found and found.origin else None


def _built(name: str) -> Part:
    """A program that counts in the version of our choice alone."""
    return Part(lambda: _present(outside_parts.built(name)), TOOLS)


PARTS = {
    "cosign": Part(
        lambda: _present(outside_parts.cosign()) or _at_least("cosign", "version", (3, 0, 4)), TOOLS
    ),
    **{name: _built(name) for name in outside_parts.BUILT if name != "cosign"},
    "fido2-tools": Part(lambda: _on_path("fido2-assert"), SYSTEM),
    "gcc": Part(lambda: _on_path("gcc"), SYSTEM),
    "go": Part(lambda: _present(outside_parts.go()) or _on_path("go"), TOOLS),
    "gost-engine": Part(lambda: _on_path("openssl") and _library("engines-3/gost.so"), SYSTEM),
    "gostcrypto": Part(lambda: _present(outside_parts.gostcrypto()), TOOLS),
    "node": Part(
        lambda: _present(outside_parts.node()) or _at_least("node", "--version", (24, 15, 0)), TOOLS
    ),
    "p11-kit": Part(lambda: _library("pkcs11/p11-kit-client.so") and _on_path("p11-kit"), SYSTEM),
    "pkcs11-tool": Part(lambda: _on_path("pkcs11-tool"), SYSTEM),
    "pycose": Part(lambda: _present(outside_parts.pycose()), TOOLS),
    "securesystemslib": Part(lambda: _module("securesystemslib"), "run scripts/setup"),
    "sigstore": Part(lambda: _module("sigstore"), "run scripts/setup"),
    "sigstore-verify": Part(lambda: _present(outside_parts.sigstore_verify()), TOOLS),
    "softhsm2": Part(lambda: _library("softhsm/libsofthsm2.so") and _on_path("softhsm2-util"), SYSTEM),
    "ssh-agent": Part(lambda: _on_path("ssh-agent"), SYSTEM),
    "ssh-keygen": Part(lambda: _on_path("ssh-keygen"), SYSTEM),
    "systemd-analyze": Part(lambda: _on_path("systemd-analyze"), SYSTEM),
    "vectors": Part(lambda: _present(VECTORS), "set SIGNERD_VECTORS to the folder of test vectors"),
}


@cache
def find(name: str) -> Path | None:
    """Where the part is; None if it is not here. KeyError for a name that is no part."""
    return PARTS[name].locate()


def the(name: str) -> Path:
    """Where the part is, for a test that is marked as needing it."""
    found = find(name)
    assert found is not None, f"mark the test with @pytest.mark.needs({name!r})"
    return found


def required() -> dict[str, str]:
    """The parts of .ci/required with their purposes, as far as $SIGNERD_REQUIRE asks for them."""
    asked = os.environ.get("SIGNERD_REQUIRE", "")
    lines = (ROOT / ".ci" / "required").read_text().splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return (
        listed
        if asked == "all"
        else {name: text for name, text in listed.items() if name in asked.split(",")}
    )
