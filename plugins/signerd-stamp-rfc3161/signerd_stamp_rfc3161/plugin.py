"""The hook of this plugin."""

from collections.abc import Mapping

from signerd.contracts import hookimpl
from signerd.contracts.providers import TransparencyLog
from signerd_stamp_rfc3161.authority import TimestampAuthority
from signerd_stamp_rfc3161.settings import read_settings

__all__ = ["signerd_transparency_logs"]


@hookimpl
def signerd_transparency_logs(settings: Mapping[str, object]) -> TransparencyLog:
    """Introduce the authority; ValueError for settings that it does not understand."""
    return TimestampAuthority(read_settings(settings))
