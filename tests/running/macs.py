"""A daemon with keys that make MACs: of two tenants, for different purposes, one for each algorithm."""

from pathlib import Path

from running.configured import configuration

__all__ = ["SECRETS", "folder_of", "macs_config"]

SECRETS = {
    "hook": ("HMAC-SHA256", bytes(range(100, 132))),
    "session": ("HMAC-SHA512", bytes(range(100, 164))),
    "other": ("HMAC-SHA256", bytes(range(101, 133))),
}
"""By name: the algorithm, and a secret that the tests know too."""


def folder_of(base: Path) -> Path:
    """The folder of secrets of a daemon in ``base``, with :data:`SECRETS` in it."""
    folder = base / "secrets"
    folder.mkdir(mode=0o700)
    for name, (algorithm, secret) in SECRETS.items():
        file = folder / f"{name}.{algorithm.lower()}"
        file.write_bytes(secret)
        file.chmod(0o600)
    return folder


def macs_config(base: Path, limits: dict[str, float] | None = None, *, more: str = "") -> str:
    """The embedded defaults with tenant local's keys ``hmac:hook`` (webhook-interop, signing), ``hmac:session``
    (authentication) and ``hmac:made`` (signing, generated), and ``hmac:other`` of another tenant."""
    text = configuration(base, limits or {})
    text = text.replace('keys = ["file:default"]', 'keys = ["file:default", "hmac:hook", "hmac:session", "hmac:made"]')
    return f"""{text}
[backends.hmac]
certificate = "none"
scheme = "hmac"
settings = {{ directory = "{folder_of(base)}" }}
[keys."hmac:hook"]
backend = "hmac"
tenant = "local"
purposes = ["webhook-interop", "signing"]
algorithm = "HMAC-SHA256"
[keys."hmac:session"]
backend = "hmac"
tenant = "local"
purposes = ["authentication"]
algorithm = "HMAC-SHA512"
[keys."hmac:made"]
backend = "hmac"
tenant = "local"
purposes = ["signing"]
algorithm = "HMAC-SHA384"
generate = "HMAC-SHA384"
[tenants.foreign]
keys = ["hmac:other"]
[keys."hmac:other"]
backend = "hmac"
tenant = "foreign"
purposes = ["signing"]
algorithm = "HMAC-SHA256"
{more}"""
