"""What somebody has who has no clone: signerd's distributions as wheels, other people's packages, and no network."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from environment import BUILD, distributions

__all__ = ["lent", "offline", "wheels"]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every distribution of this clone, built from its sources as they are."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-c", BUILD, str(folder), *map(str, distributions().values())]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import other people's packages from, and none of signerd's."""
    folder = tmp_path_factory.mktemp("lent")
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if not entry.name.startswith(("signerd", "pip", "__pycache__")) and entry.suffix != ".pth":
                (folder / entry.name).symlink_to(entry)
    return folder


def offline(wheels: Path) -> dict[str, str]:
    """The variables with which pip takes signerd from the wheels, and asks nobody for anything."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's own way to say that there is none
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
