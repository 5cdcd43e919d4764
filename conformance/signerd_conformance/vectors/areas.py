"""The areas of the test vectors that the kit ships."""

from importlib import resources
from typing import Final

__all__ = ["AREAS", "text_of"]

AREAS: Final = (
    "canonical-json",
    "ecdsa-der",
    "key-ids",
    "pae",
    "statements",
    "wire-frames",
    "worker-frames",
)
"""Names of the files, which are ASCII: an object with ``comment``, and the arrays ``accept`` and ``refuse``."""


def text_of(area: str) -> str:
    """Return the JSON of one of :data:`AREAS`."""
    return resources.files(__package__).joinpath(f"{area}.json").read_text("ascii")
