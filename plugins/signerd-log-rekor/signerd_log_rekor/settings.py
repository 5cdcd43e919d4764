"""The plugin's own table of the configuration."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from signerd.errors import Refusal
from signerd.verification.checkpoint import Witness
from signerd.verification.keys import PublicKey
from signerd.verification.trusted_root import Log

__all__ = ["LOCAL", "Settings", "read_settings"]

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Where plain HTTP may lead: everywhere else somebody in between could keep entries from the log."""
FIND_ENTRIES: Final = 4096
"""Sixteen bundles: what a log takes while a crash is noticed and the daemon started again, many times over."""
_ED25519: Final = b"\x01"
"""The signature type of an Ed25519 note key (C2SP signed-note)."""
_SINCE: Final = datetime.fromtimestamp(0, UTC)
_ED25519_SPKI: Final = 12
"""Bytes before the raw key in the SPKI of an Ed25519 key (RFC 8410)."""


class _Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    public_key: str
    origin: str = ""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shards: Annotated[tuple[_Shard, ...], msgspec.Meta(min_length=1, max_length=32)]
    ca: str | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 20.0
    witnesses: tuple[str, ...] = ()
    witness_threshold: Annotated[int, msgspec.Meta(ge=0, le=32)] = 0
    find_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = FIND_ENTRIES


@dataclass(frozen=True, slots=True)
class Settings:
    """``shards`` in the order in which they are tried; a call takes at most ``deadline_s`` seconds, and looks for an
    entry among the newest ``find_entries`` of each shard."""

    shards: tuple[Log, ...]
    ca: str | None
    deadline_s: float
    witnesses: tuple[Witness, ...]
    witness_threshold: int
    find_entries: int


def read_settings(table: Mapping[str, object]) -> Settings:
    """Return the settings; ValueError says in one sentence what is wrong with them."""
    try:
        read = msgspec.convert(table, _Table)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    if read.ca is not None and not read.ca.startswith("/"):
        raise ValueError("ca: expected an absolute path")
    try:
        witnesses = tuple(map(Witness.parse, read.witnesses))
    except Refusal as refusal:
        raise ValueError(f"witnesses: {refusal.public}") from refusal
    if read.witness_threshold > len(witnesses):
        raise ValueError("witness_threshold: expected no more than there are witnesses")
    return Settings(
        tuple(map(_log, read.shards)), read.ca, read.deadline_s, witnesses, read.witness_threshold, read.find_entries
    )


def _log(shard: _Shard) -> Log:
    url = urlsplit(shard.url)
    if url.hostname is None or url.query or url.fragment or url.username is not None:
        raise ValueError(f"url: expected http(s)://HOST[:PORT][/PATH], got {shard.url}")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOCAL):
        raise ValueError(f"url: expected https except on this host, got {shard.url}")
    key = _key(shard.public_key)
    origin = shard.origin or url.hostname
    log_id = hashlib.sha256(origin.encode() + b"\n" + _ED25519 + key.spki[_ED25519_SPKI:]).digest()
    return Log(shard.url.rstrip("/"), origin, log_id, log_id, key, _SINCE, None)


def _key(path: str) -> PublicKey:
    if not path.startswith("/"):
        raise ValueError("public_key: expected the absolute path of a PEM file")
    try:
        key = PublicKey.from_pem(Path(path).read_bytes())
    except (OSError, Refusal) as exc:
        raise ValueError(f"public_key: {path}: {exc}") from exc
    if key.algorithm != "Ed25519":
        raise ValueError(f"public_key: {path}: expected an Ed25519 key, as a Rekor v2 log has")
    return key
