"""The backend's table of the configuration, understood and checked."""

from collections.abc import Mapping

from signerd.contracts.settings import absolute_path, only_known

__all__ = ["directory_of"]


def directory_of(settings: Mapping[str, object]) -> str:
    """Return ``directory``, where the secrets lie; ValueError in a plain sentence for anything else."""
    only_known(settings, {"directory"})
    return absolute_path("directory", settings.get("directory"))
