"""A daemon whose key `file:release` signs what somebody has touched an authenticator for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fakes.fido2_device import SoftAuthenticator, plugged_in
from running.daemon import RELEASE, Running
from running.daemon import running as running_daemon
from signerd_key_fido2.backend import Fido2Backend

__all__ = ["ORIGIN", "RP_ID", "configuration", "touching"]

RP_ID, ORIGIN = "signer.example", "https://signer.example"


def configuration(
    base: Path,
    backend: str,
    *,
    approver: str = "fido2:alice",
    presence_s: float = 60,
    plan: str = "",
    limits: str = "",
) -> str:
    """``backend`` is the text of ``[backends.touch]``, which has ``approver``; ``plan`` the settings of the
    entitlement, ``limits`` the text of that section."""
    return f"""
[limits]
{limits}
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
{plan}
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
[plugins.predicates-intoto]
certificate = "none"
[plugins.predicates-stella]
certificate = "none"
[backends.file]
certificate = "none"
scheme = "file"
settings = {{ directory = "{base}/state/keys" }}
[backends.touch]
certificate = "none"
{backend}
[tenants.local]
keys = ["file:release", "file:plain", "{approver}"]
default_key = "file:release"
[keys."file:release"]
backend = "file"
tenant = "local"
generate = "ES256"
presence = "{approver}"
presence_s = {presence_s}
[keys."file:plain"]
backend = "file"
tenant = "local"
generate = "ES256"
[keys."{approver}"]
backend = "touch"
tenant = "local"
rp_id = "{RP_ID}"
origin = "{ORIGIN}"
"""


@contextmanager
def touching(
    base: Path, *, touch_s: float = 30, algorithm: str = "FIDO2-ES256", **options: object
) -> Iterator[tuple[Running, SoftAuthenticator]]:
    """Enrol an authenticator of software, and start a daemon beside it; nothing touches it until a test does."""
    with plugged_in(base / "device", SoftAuthenticator()) as device:
        settings: Mapping[str, object] = {
            "state": str(base / "fido2"),
            "rp_id": RP_ID,
            "origin": ORIGIN,
            "device": device.place,
            "touch_s": touch_s,
        }
        Fido2Backend(settings).enrol("fido2:alice", algorithm)
        device.touched_at_once = False
        table = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        backend = f'scheme = "fido2"\n[backends.touch.settings]\n{table}'
        text = configuration(base, backend, **options)  # type: ignore[arg-type]  # passed through
        with running_daemon(base, config=text) as daemon:
            yield daemon, device
