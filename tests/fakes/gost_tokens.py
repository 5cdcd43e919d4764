"""GOST keys in a folder, for the backends that sign with a vendor's module or tool: gost_module.c and csptest.py."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outside.gost import Gost
from outside.parts import the

__all__ = ["GostToken", "gost_module_file", "gost_token"]

PIN = "12-ÿ34"
_HERE = Path(__file__).parent


class GostToken:
    """A token (or the containers of a tool) with keys under ``base``, and a backend's settings for it.

    ``quirks`` are switches of gost_module.c, by their names without the ``STANDIN_``.
    """

    def __init__(self, base: Path, compiled: Path, **quirks: str) -> None:
        self.base = base
        self.keys = base / "keys"
        self.keys.mkdir(exist_ok=True)
        self.openssl = Gost(base)
        # A file of its own: one process loads a module once, whatever its settings.
        self.module = base / f"standin{len(list(base.glob('standin*')))}.so"
        shutil.copy(compiled, self.module)
        self.tool = base / "csptest"
        self.tool.write_text(f"#!{sys.executable} -I\n" + (_HERE / "csptest.py").read_text())
        self.tool.chmod(0o755)
        self.environment = {
            "STANDIN_DIR": str(self.keys),
            "STANDIN_PIN": PIN,
            **{f"STANDIN_{name}": value for name, value in quirks.items()},
        }
        self.pin_file = base / "pin"
        self.set_pin_file(PIN)

    def set_pin_file(self, pin: str) -> None:
        """Write the file that the settings name."""
        self.pin_file.write_text(pin + "\n")
        self.pin_file.chmod(0o600)

    def add(self, name: str, parameters: str = "TC26-256-A") -> Path:
        """Put a new key of a parameter set (tests/outside/gost.py) there; its PKCS#8 file."""
        return self.openssl.new_key(parameters).rename(self.keys / f"{name}.pem")

    def public(self, name: str) -> Path:
        """The public half in a file, in PEM."""
        path = self.base / f"{name}.pub"
        path.write_bytes(self.openssl.public(self.keys / f"{name}.pem"))
        return path

    def certify(self, name: str) -> bytes:
        """Put a certificate of the key's beside it; its DER."""
        key = self.keys / f"{name}.pem"
        der = self.openssl.openssl("req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-outform", "DER")
        key.with_suffix(".crt").write_bytes(der)
        return der

    def settings(self, **more: object) -> dict[str, object]:
        """Settings with the token's PIN in a file, and ``more`` in place of that."""
        return {
            "modules": {"standin": str(self.module)},
            "environment": self.environment,
            "state": str(self.base / "state"),
            "pin_file": str(self.pin_file),
            **more,
        }

    def containers(self, *names: str, **more: object) -> dict[str, object]:
        """A table ``tool`` with containers of these names, whose keys must be there."""
        listed = {name: {"name": f"\\\\.\\HDIMAGE\\{name}", "public_key": str(self.public(name))} for name in names}
        return {"path": str(self.tool), "containers": listed, **more}

    def go_wrong(self, fault: str) -> None:
        """Let the tool's calls end so, as csptest.py says; empty: well."""
        (self.keys / "fault").write_text(fault)

    def calls(self) -> list[str]:
        """The arguments of each call of the tool so far."""
        path = self.keys / "arguments"
        return path.read_text().splitlines() if path.exists() else []

    def refused_pins(self) -> int:
        """How many wrong PINs the token has counted."""
        path = self.keys / "failed"
        return int(path.read_text()) if path.exists() else 0

    def verifies(self, name: str, signature: bytes, message: bytes) -> bool:
        """Whether the engine takes a signature by this key."""
        public = self.public(name).read_text()
        return self.openssl.verifies(public, len(signature) * 4, signature, message)


@pytest.fixture(scope="session")
def gost_module_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled gost_module.c; for a test marked as needing gcc and gost-engine."""
    compiled = tmp_path_factory.mktemp("gost") / "standin.so"
    options = "-shared -fPIC -O1 -Wall -Werror".split()
    command = [str(the("gcc")), *options, "-o", str(compiled), str(_HERE / "gost_module.c"), "-l:libcrypto.so.3"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return compiled


@pytest.fixture
def gost_token(tmp_path: Path, gost_module_file: Path) -> Iterator[GostToken]:
    """A token without keys."""
    base = tmp_path / "gost"
    base.mkdir()
    before = dict(os.environ)
    yield GostToken(base, gost_module_file)
    os.environ.clear()
    os.environ.update(before)
