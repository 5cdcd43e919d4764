"""OpenSSL's command line with the GOST engine, another implementation than ours: keys, hashes, signatures."""

import os
import subprocess
from pathlib import Path

from outside.parts import the

__all__ = ["PARAMETERS", "Gost"]

PARAMETERS = {
    "TC26-256-A": ("gost2012_256", "TCA"),
    "TC26-256-B": ("gost2012_256", "TCB"),
    "TC26-256-C": ("gost2012_256", "TCC"),
    "TC26-256-D": ("gost2012_256", "TCD"),
    "CryptoPro-A": ("gost2012_256", "A"),
    "CryptoPro-XchA": ("gost2012_256", "XA"),
    "TC26-512-A": ("gost2012_512", "A"),
    "TC26-512-B": ("gost2012_512", "B"),
    "TC26-512-C": ("gost2012_512", "C"),
}
"""Of each parameter set the engine's algorithm and its own name for the set."""

_CONFIG = """openssl_conf = conf
[conf]
engines = engines
[engines]
gost = gost
[gost]
engine_id = gost
dynamic_path = {engine}
default_algorithms = ALL
"""


class Gost:
    """Runs openssl with the engine loaded by a configuration of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = folder / "gost.cnf"
        self._config.write_text(_CONFIG.format(engine=the("gost-engine")))

    def openssl(self, *arguments: str | Path, stdin: bytes = b"", check: bool = True) -> bytes:
        """Standard output of ``openssl ARGUMENTS``."""
        done = subprocess.run(
            ["openssl", *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
            env={**os.environ, "OPENSSL_CONF": str(self._config)},
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def new_key(self, parameters: str) -> Path:
        """A new key in a PKCS#8 file."""
        path = self.folder / f"{parameters}.pem"
        algorithm, name = PARAMETERS[parameters]
        self.openssl("genpkey", "-algorithm", algorithm, "-pkeyopt", f"paramset:{name}", "-out", path)
        path.chmod(0o600)
        return path

    def public(self, key: Path) -> bytes:
        """PEM of a key's public half."""
        return self.openssl("pkey", "-in", key, "-pubout")

    def digest(self, bits: int, message: bytes) -> bytes:
        """Streebog of ``message``."""
        return self.openssl("dgst", f"-md_gost12_{bits}", "-binary", stdin=message)

    def sign(self, key: Path, bits: int, message: bytes) -> bytes:
        """A signature as the engine writes it: s, then r."""
        return self.openssl("dgst", f"-md_gost12_{bits}", "-sign", key, stdin=message)

    def verifies(self, public: str, bits: int, signature: bytes, message: bytes) -> bool:
        """Whether the engine takes ``signature`` by the key in the PEM ``public`` over ``message``."""
        (self.folder / "public.pem").write_text(public)
        (self.folder / "signature").write_bytes(signature)
        told = self.openssl(
            "dgst",
            f"-md_gost12_{bits}",
            "-verify",
            self.folder / "public.pem",
            "-signature",
            self.folder / "signature",
            stdin=message,
            check=False,
        )
        return told == b"Verified OK\n"
