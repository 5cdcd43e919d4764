"""The hook of this plugin."""

from collections.abc import Mapping

from signerd.contracts import hookimpl
from signerd.contracts.providers import TransparencyLog
from signerd_log_rekor.log import RekorLog
from signerd_log_rekor.settings import read_settings

__all__ = ["signerd_transparency_logs"]


@hookimpl
def signerd_transparency_logs(settings: Mapping[str, object]) -> TransparencyLog:
    """Introduce the log; ValueError for settings that it does not understand."""
    return RekorLog(read_settings(settings))
