"""A configuration of a daemon whose tenant signs by certificates."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from running.configured import configuration

__all__ = ["keyless_configuration"]


def keyless_configuration(
    base: Path,
    url: str,
    ca: Path,
    ct_log: Path | None,
    issuers: Sequence[str],
    *,
    keys: Mapping[str, str] | None = None,
    trust: str = "ephemeral_ok = true",
    settings: str = "timeout_s = 5",
    limits: Mapping[str, float] | None = None,
) -> str:
    """The embedded defaults with keyless keys beside ``file:default``, the first of them the default key.

    ``keys`` are token sources by name. ``trust`` is added to what each key is trusted by, ``settings`` to those of the
    backend.
    """
    sources = keys or {"ci": "request"}
    logs = 'ct_log = "none"' if ct_log is None else f'ct_log_keys = ["{ct_log}"]'
    listed = ", ".join(f'"{issuer}"' for issuer in issuers)
    references = ", ".join(f'"fulcio:{name}"' for name in sources)
    default = next(iter(sources))
    text = configuration(base, limits or {}).replace(
        'keys = ["file:default"]', f'keys = [{references}, "file:default"]\ndefault_key = "fulcio:{default}"'
    )
    text += f"""
[backends.fulcio]
certificate = "none"
scheme = "fulcio"
kind = "network"
[backends.fulcio.settings]
url = "{url}"
ca = "{ca}"
{logs}
{settings}
"""
    for name, source in sources.items():
        text += f"""
[backends.fulcio.settings.keys.{name}]
token = "{source}"
issuers = [{listed}]
[keys."fulcio:{name}"]
backend = "fulcio"
tenant = "local"
[keys."fulcio:{name}".keyless]
ca = "{ca}"
{logs}
issuers = [{listed}]
{trust}
"""
    return text
