"""SoftHSM2 in a folder of its own, as the rows about key backends use it, and the same token in this process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.load import PartMissing
from running.configured import PLUGINS

__all__ = ["FILE_KEY", "HSM_KEY", "Token", "configuration"]

HSM_KEY = "pkcs11:token=bench;object=bench"
FILE_KEY = "file:default"
_PIN = "4711 bench"
_SHIM = Path(__file__).resolve().parents[1] / "fakes" / "pkcs11_shim.c"

# Log in once, find the key once, sign digests of 32 bytes for so many seconds: nothing of signerd's.
_IN_PROCESS = """
import hashlib, os, sys, time
import pkcs11
module, token, pin, label, seconds = sys.argv[1:]
session = pkcs11.lib(module).get_token(token_label=token).open(user_pin=pin)
key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=label)
digests = [hashlib.sha256(str(n).encode()).digest() for n in range(256)]
for digest in digests:
    key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
made, began = 0, time.perf_counter()
while (spent := time.perf_counter() - began) < float(seconds):
    key.sign(digests[made % 256], mechanism=pkcs11.Mechanism.ECDSA)
    made += 1
print(made / spent)
"""


class Token:
    """A SoftHSM2 token `bench` under `base`, with a module before it that can be told to hang."""

    def __init__(self, base: Path) -> None:
        """Make it; PartMissing without SoftHSM2 or a C compiler."""
        found = sorted(Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"))
        if not found or shutil.which("softhsm2-util") is None:
            raise PartMissing("no SoftHSM2: apt-get install softhsm2")
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise PartMissing("no C compiler (`cc`): apt-get install gcc libc6-dev")
        self._base = base
        self.module = found[0].resolve()
        (base / "tokens").mkdir()
        conf = base / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {base}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self._pin_file = base / "pin"
        self._pin_file.write_text(_PIN)
        self._pin_file.chmod(0o600)
        make = ["softhsm2-util", "--init-token", "--free", "--label", "bench", "--pin", _PIN, "--so-pin", "12345678"]
        subprocess.run(make, env=os.environ | self.environment, check=True, capture_output=True)
        self._shim = base / "shim.so"
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(self._shim), str(_SHIM), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._faults = base / "faults"
        self._faults.mkdir()

    def settings(self, *, wedged: bool = False) -> dict[str, Any]:
        """The backend's settings: the module itself, or with `wedged` through the one that can hang."""
        environment = dict(self.environment)
        if wedged:
            environment |= {"SHIM_REAL": str(self.module), "SHIM_DIR": str(self._faults)}
        return {
            "modules": {"token": str(self._shim if wedged else self.module)},
            "environment": environment,
            "state": str(self._base / "state"),
            "pin_file": str(self._pin_file),
        }

    def wedge(self) -> None:
        """From now on every signature hangs, in this worker and in all that follow it."""
        (self._faults / "fault").write_text("C_Sign hang 1000000\n")

    def rate_in_process(self, seconds: float) -> float:
        """Signatures a second of one session and one thread in a process that does nothing else."""
        command = [sys.executable, "-c", _IN_PROCESS, str(self.module), "bench", _PIN, "bench", str(seconds)]
        # One that was begun beside another load is measured beside it: the caller takes them in turn.
        done = subprocess.run(
            command, env=os.environ | self.environment, check=True, capture_output=True, text=True
        )
        return float(done.stdout)


def configuration(folder: Path, settings: dict[str, Any]) -> str:
    """A daemon with a software key in `folder`, which is the default, and a key in the token."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700)

    def inline(table: dict[str, Any]) -> str:
        parts = [f"{name} = {inline(v) if isinstance(v, dict) else json.dumps(v)}" for name, v in table.items()]
        return "{ " + ", ".join(parts) + " }"

    return f"""
{PLUGINS}
[backends.file]
certificate = "none"
scheme = "file"
settings = {{ directory = "{keys}" }}
[backends.token]
certificate = "none"
scheme = "pkcs11"
kind = "hsm"
call_deadline_s = 1.0
settings = {inline(settings)}
[tenants.local]
keys = ["{FILE_KEY}", "{HSM_KEY}"]
default_key = "{FILE_KEY}"
[keys."{FILE_KEY}"]
backend = "file"
tenant = "local"
generate = "ES256"
[keys."{HSM_KEY}"]
backend = "token"
tenant = "local"
generate = "ES256"
"""
