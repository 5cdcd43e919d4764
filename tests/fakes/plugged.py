"""Fixtures: an authenticator of software that is plugged in."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.fido2_device import SoftAuthenticator, plugged_in

__all__ = ["authenticator"]


@pytest.fixture
def authenticator() -> Iterator[SoftAuthenticator]:
    # A socket's path has 107 bytes at most, and the test's own folder is named after the test.
    with tempfile.TemporaryDirectory(prefix="fido2-") as folder, plugged_in(Path(folder) / "device") as device:
        yield device
