"""Real PKCS#11 tokens for the tests: SoftHSM in a folder of its own, alone or behind a module that misbehaves."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from outside.parts import the

__all__ = ["PIN", "Behind", "Shim", "SoftHsm", "hsm", "shim", "shim_file"]

PIN = "98-76 5ä"
"""No digits only: a PIN is UTF-8."""
_SOURCE = Path(__file__).with_name("pkcs11_shim.c")


class SoftHsm:
    """SoftHSM's configuration and tokens under ``base``, and a backend's settings for them."""

    def __init__(self, base: Path, *labels: str) -> None:
        self.base = base
        self.module = _real("softhsm/libsofthsm2.so")
        self.tokens = base / "tokens"
        self.tokens.mkdir()
        self.configuration = base / "softhsm2.conf"
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.environment = {"SOFTHSM2_CONF": str(self.configuration)}
        self.pin_file = base / "pin"
        self.set_pin_file(PIN)
        for label in labels or ("demo",):
            self.initialise(label)

    def initialise(self, label: str) -> None:
        """Make a token of that label with the PIN :data:`PIN`."""
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "12345678")

    def set_pin_file(self, pin: str) -> None:
        """Write the file that the settings name."""
        self.pin_file.write_text(pin + "\n")
        self.pin_file.chmod(0o600)

    def settings(self, **more: object) -> dict[str, object]:
        """Settings with every token's PIN in one file, and ``more`` in place of that."""
        return {
            "modules": {"softhsm": str(self.module)},
            "environment": self.environment,
            "state": str(self.base / "state"),
            "pin_file": str(self.pin_file),
            **more,
        }

    def tool(self, *arguments: str, label: str = "demo") -> subprocess.CompletedProcess[str]:
        """Run OpenSC's pkcs11-tool, logged in to the token."""
        return self._run(
            "pkcs11-tool", "--module", str(self.module), "--token-label", label, "--login", "--pin", PIN, *arguments
        )

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done


class Behind(Protocol):
    """What the misbehaving module stands before: :class:`SoftHsm`, or a token of gost_tokens.py."""

    base: Path
    module: Path
    environment: dict[str, str]

    def settings(self, **more: object) -> dict[str, object]:
        """Return a backend's settings for it, with ``more`` in their place."""


class Shim:
    """The module of pkcs11_shim.c before another: it counts calls, and fails as it is told."""

    def __init__(self, hsm: Behind, compiled: Path, **environment: str) -> None:
        self.hsm = hsm
        self.folder = hsm.base / f"shim{len(list(hsm.base.glob('shim*')))}"
        self.folder.mkdir()
        # A file of its own: one process loads a module once, whatever its settings.
        self.module = self.folder / "shim.so"
        shutil.copy(compiled, self.module)
        self.environment = {
            **hsm.environment,
            "SHIM_REAL": str(hsm.module),
            "SHIM_DIR": str(self.folder),
            **environment,
        }

    def settings(self, **more: object) -> dict[str, object]:
        """As those of :meth:`SoftHsm.settings`, through this module."""
        return self.hsm.settings(modules={"shim": str(self.module)}, environment=self.environment, **more)

    def fail(self, name: str, what: str, count: int = 1) -> None:
        """Let the next ``count`` calls of ``name`` end in ``what``."""
        (self.folder / "fault").write_text(f"{name} {what} {count}\n")

    def calls(self, name: str) -> list[tuple[int, int]]:
        """The result and the detail of each call of ``name`` so far; a fault's result is 0xdead."""
        path = self.folder / "calls"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(int(result, 16), int(detail, 16)) for called, result, detail in lines if called == name]


@pytest.fixture
def hsm(tmp_path: Path) -> Iterator[SoftHsm]:
    """A SoftHSM with the token ``demo``; for a test marked as needing softhsm2."""
    base = tmp_path / "hsm"
    base.mkdir()
    before = dict(os.environ)
    made = SoftHsm(base)
    yield made
    # It is one module to this process: the next test's must read its own configuration.
    ctypes.CDLL(str(made.module)).C_Finalize(None)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def shim_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled pkcs11_shim.c; for a test marked as needing gcc."""
    compiled = tmp_path_factory.mktemp("shim") / "shim.so"
    options = "-shared -fPIC -O1 -Wall -Werror".split()
    command = [str(the("gcc")), *options, "-o", str(compiled), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return compiled


@pytest.fixture
def shim(hsm: SoftHsm, shim_file: Path) -> Shim:
    """The misbehaving module before ``hsm``."""
    return Shim(hsm, shim_file)


def _real(name: str) -> Path:
    the("softhsm2")
    return next(iter(sorted(Path("/usr/lib").glob(f"*/{name}")))).resolve()
