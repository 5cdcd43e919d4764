"""The backend's table of the configuration, understood and checked."""

import os
from collections.abc import Mapping

__all__ = ["directory_of"]


def directory_of(settings: Mapping[str, object]) -> str:
    """Return ``directory``, where the secrets lie; ValueError in a plain sentence for anything else."""
    for key in settings:
        if key != "directory":
            raise ValueError(f"{key}: unknown key; expected is directory")
    directory = settings.get("directory")
    if not isinstance(directory, str) or not os.path.isabs(directory) or "\0" in directory:
        raise ValueError("directory: an absolute path is expected")
    return directory
