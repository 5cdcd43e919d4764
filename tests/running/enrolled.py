"""A daemon whose key was enrolled with an authenticator by command."""

import subprocess
import sys
import tomllib
from pathlib import Path

from fakes.fido2_device import SoftAuthenticator
from running.configured import PLUGINS

__all__ = ["enrolled"]

PROGRAMS = Path(sys.executable).parent


def configuration(base: Path, device: SoftAuthenticator, key: str, *, touch_s: float, settings: str) -> str:
    return f"""
[sockets.sign]
[limits]
worker_backoff_first_s = 0.05
{PLUGINS}
[backends.touch]
certificate = "none"
scheme = "fido2"
call_deadline_s = 20
[backends.touch.settings]
state = "{base}/fido2"
device = "{device.place}"
rp_id = "signer.example"
touch_s = {touch_s}
{settings}
[tenants.local]
keys = ["{key}"]
[keys."{key}"]
backend = "touch"
tenant = "local"
"""


def enrolled(base: Path, device: SoftAuthenticator, key: str, *, touch_s: float = 10, settings: str = "") -> str:
    """Return the configuration by which the key was enrolled, before any daemon ran: two touches."""
    text = configuration(base, device, key, touch_s=touch_s, settings=settings)
    file = base / "signerd.toml"
    file.write_text(text)
    command = [PROGRAMS / "signerd", "keys", "enrol-fido2", key, "--config", file, "--output", "table"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert device.asked == 2
    assert tomllib.loads(done.stdout)["keys"] == tomllib.loads(text)["keys"]
    return text
