"""The plugin's table of the configuration, understood and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from signerd.contracts.settings import absolute_path, key_name, matching, only_known, seconds

__all__ = ["KeySettings", "Settings", "TokenSource", "understand"]

TIMEOUT_S: Final = 10.0
"""For all of one exchange with Fulcio or a CI system: well below the 25 s that the sealer gives a network call."""
MARGIN_S: Final = 60.0
"""A certificate is not used so shortly before its end: a stamp of the signature must still fall into it."""
_KNOWN: Final = {"url", "ca", "ct_log_keys", "ct_log", "audience", "timeout_s", "margin_s", "tls_ca", "keys"}
_KEY: Final = {"token", "issuers", "identity"}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_TEXT: Final = re.compile(r"[!-~]{1,2048}")

Kind = Literal["file", "spiffe", "env", "github", "gitlab", "request"]
_ALONE: Final[Mapping[str, Kind]] = {"request": "request", "github": "github", "gitlab": "gitlab"}
_FILES: Final[Mapping[str, Kind]] = {"file": "file", "spiffe": "spiffe"}


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where a key's token comes from; ``place`` is the path of a file or the name of a variable."""

    kind: Kind
    place: str = ""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """One key: its token's source, the issuers that may have made it, and, if given, the one identity that its
    certificates may name."""

    token: TokenSource
    issuers: frozenset[str]
    identity: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """``ct_log_keys`` None: certificates are in no log, as the operator has said. Times are seconds."""

    url: str
    ca: str
    ct_log_keys: tuple[str, ...] | None
    audience: str
    timeout_s: float
    margin_s: float
    tls_ca: str | None
    keys: Mapping[str, KeySettings]


def understand(settings: Mapping[str, object]) -> Settings:
    """Read the table; ValueError in a plain sentence for an unknown key, a wrong type, a path that is not absolute, a
    URL that is neither https nor of this host, a key without issuers."""
    only_known(settings, _KNOWN)
    keys = settings.get("keys")
    if not isinstance(keys, Mapping) or not keys:
        raise ValueError("keys: a table of NAME = {token = …, issuers = […]} is expected")
    logs, none = settings.get("ct_log_keys"), settings.get("ct_log")
    if (logs is None) is (none is None) or none not in (None, "none"):
        raise ValueError('ct_log_keys: a list of paths is expected, or ct_log = "none"')
    tls_ca = settings.get("tls_ca")
    return Settings(
        _url("url", settings.get("url")),
        absolute_path("ca", settings.get("ca")),
        None if logs is None else tuple([absolute_path("ct_log_keys", one) for one in _list("ct_log_keys", logs)]),
        _text("audience", settings.get("audience", "sigstore")),
        seconds("timeout_s", settings.get("timeout_s", TIMEOUT_S), 0.1, 20),
        seconds("margin_s", settings.get("margin_s", MARGIN_S), 1, 3600),
        None if tls_ca is None else absolute_path("tls_ca", tls_ca),
        {str(name): _key(str(name), table) for name, table in keys.items()},
    )


def _key(name: str, table: object) -> KeySettings:
    where = f"keys.{name}"
    key_name(where, name)
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: a table with token and issuers is expected")
    only_known(table, _KEY, f"{where}.")
    identity = table.get("identity")
    return KeySettings(
        _source(f"{where}.token", table.get("token")),
        frozenset([_text(f"{where}.issuers", one) for one in _list(f"{where}.issuers", table.get("issuers"))]),
        None if identity is None else _text(f"{where}.identity", identity),
    )


def _source(where: str, value: object) -> TokenSource:
    kind, colon, place = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon and kind in _ALONE:
        return TokenSource(_ALONE[kind])
    if colon and kind in _FILES:
        return TokenSource(_FILES[kind], absolute_path(where, place))
    if colon and kind == "env" and _VARIABLE.fullmatch(place):
        return TokenSource("env", place)
    raise ValueError(f'{where}: expected "request", "github", "gitlab", "file:PATH", "spiffe:PATH" or "env:NAME"')


def _list(where: str, value: object) -> list[object]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{where}: a list with at least one entry is expected")
    return list(value)


def _text(where: str, value: object) -> str:
    return matching(where, value, _TEXT, "a text without spaces is expected")


def _url(where: str, value: object) -> str:
    text = _text(where, value)
    parts = urlsplit(text)
    # A token is a secret: it leaves this host encrypted, or not at all.
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not safe or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{where}: an https URL is expected, or an http URL of this host")
    return text.rstrip("/")
