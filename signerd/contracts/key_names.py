"""References of backends that name their keys: ``SCHEME:NAME``, and the versions of a name."""

import re
from collections.abc import Callable, Container
from typing import Final

from signerd.contracts.settings import KEY_NAME
from signerd.contracts.values import KeyDescription, Rotated
from signerd.errors import Refusal

__all__ = ["name_of", "next_version"]

MOST_VERSIONS: Final = 10_000
"""Names tried for a new version: a key that was rotated daily has not got there in 27 years."""
_LONGEST_BASE: Final = 64 - len(".v9999")
_VERSION: Final = re.compile(r"\.v[0-9]{1,5}\Z")


def name_of(scheme: str, key: str) -> str:
    """Return NAME of a reference; ``scheme`` has its colon. ``key.not_found``, ``reference``, for what is none."""
    name = key.removeprefix(scheme)
    if name == key or KEY_NAME.fullmatch(name) is None:
        operator = f"{key[:80]!r} is not {scheme}NAME"
        raise Refusal("key.not_found", "reference", "there is no such key", operator=operator)
    return name


def next_version(
    scheme: str, key: str, generate: Callable[[str], KeyDescription], taken: Container[str] = ()
) -> Rotated:
    """Have a key made beside ``key``, by the first free name of ``NAME.v2``, ``NAME.v3``, …

    ``generate`` takes the reference and refuses with reason ``exists`` where there is such a key; names ``taken`` are
    not tried. ``key.forbidden``, ``no_free_name``; ``key.not_found`` as :func:`name_of`; what ``generate`` raises.
    """
    base = _VERSION.sub("", name_of(scheme, key))
    for number in range(2, MOST_VERSIONS if len(base) <= _LONGEST_BASE else 2):
        name = f"{base}.v{number}"
        if name in taken:
            continue
        try:
            return Rotated(scheme + name, generate(scheme + name))
        except Refusal as refusal:
            if refusal.reason != "exists":
                raise
    raise Refusal("key.forbidden", "no_free_name", "there is no name left for a new version of this key")
