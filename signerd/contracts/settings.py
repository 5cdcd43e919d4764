"""How a plugin reads its own table of the configuration: each value is understood, or refused in one plain sentence.

All of these raise ValueError, whose text the operator reads: the key (``where``), and what is expected there.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

__all__ = [
    "KEY_NAME",
    "absolute_path",
    "key_name",
    "matching",
    "one_secret_place",
    "only_known",
    "pin_of_file",
    "seconds",
    "secret_place",
    "table_of",
    "true_or_false",
]

_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
KEY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A name that is one in a file system, in a reference and on a command line."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def only_known(table: Mapping[str, object], known: Collection[str], prefix: str = "") -> None:
    """Refuse every key but these; ``prefix`` stands before each, with its dot."""
    for key in table:
        if key not in known:
            raise ValueError(f"{prefix}{key}: unknown key; expected are {', '.join(sorted(known))}")


def table_of(where: str, value: object, shape: str) -> dict[str, object]:
    """Return a table as it is; ``shape`` says what it should be one of."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: a table of {shape} is expected")
    return {str(key): entry for key, entry in value.items()}


def absolute_path(where: str, value: object) -> str:
    """Return a path that means the same wherever the plugin runs."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"{where}: an absolute path is expected")
    return value


def matching(where: str, value: object, shape: re.Pattern[str], expected: str) -> str:
    """Return text that ``shape`` matches whole; ``expected`` is the sentence for any other."""
    if not isinstance(value, str) or shape.fullmatch(value) is None:
        raise ValueError(f"{where}: {expected}")
    return value


def key_name(where: str, name: str) -> str:
    """Return a name of :data:`KEY_NAME`."""
    expected = "a name of letters, digits, dots, dashes and underscores is expected, at most 64"
    return matching(where, name, KEY_NAME, expected)


def seconds(where: str, value: object, least: float, most: float) -> float:
    """Return a number of seconds within these bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{where}: seconds from {least:g} to {most:g} are expected")
    return float(value)


def true_or_false(where: str, value: object) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise ValueError(f"{where}: true or false is expected")
    return value


def pin_of_file(where: str, value: object) -> str | None:
    """Return the SHA-256 that pins a file's content, in hex; None where there is none."""
    return None if value is None else matching(where, value, _DIGEST, "64 lowercase hex digits are expected")


def secret_place(table: Mapping[str, object], path: str, credential: str, prefix: str = "") -> str | None:
    """Return where a secret lies, as :func:`signerd.secret_files.reading.read_secret` takes it: an absolute path under
    the key ``path``, or the name of a credential of systemd's under the key ``credential``; None with neither."""
    if table.get(path) is not None and table.get(credential) is not None:
        raise ValueError(f"{prefix}{path} and {prefix}{credential}: only one of them is expected")
    if table.get(path) is not None:
        return absolute_path(f"{prefix}{path}", table[path])
    if table.get(credential) is None:
        return None
    expected = "the name of a systemd credential is expected"
    return matching(f"{prefix}{credential}", table[credential], _CREDENTIAL, expected)


def one_secret_place(where: str, value: object, path: str, credential: str) -> str:
    """Return where the secret of the table ``value`` lies, which has one of the two keys and nothing else; as
    :func:`secret_place`."""
    table = table_of(where, value, f"{path} or {credential}")
    only_known(table, {path, credential}, f"{where}.")
    place = secret_place(table, path, credential, f"{where}.")
    if place is None:
        raise ValueError(f"{where}: exactly one of {path} and {credential} is expected")
    return place
