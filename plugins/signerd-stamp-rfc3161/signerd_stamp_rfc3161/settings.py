"""The plugin's own table of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.errors import Refusal
from signerd.verification.certificates import Authority, load_certificate

__all__ = ["LOCAL", "Settings", "read_settings"]

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Where plain HTTP may lead: everywhere else somebody in between could tell what is signed and when."""
_LONGEST_CHAIN: Final = 10


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    chain: str
    ca: str | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    clock_skew_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """``authority`` has the chain that stamps must lead to. A stamp's time is within ``clock_skew_s`` of ours."""

    url: str
    authority: Authority
    ca: str | None
    deadline_s: float
    clock_skew_s: float


def read_settings(table: Mapping[str, object]) -> Settings:
    """Return the settings; ValueError says in one sentence what is wrong with them."""
    try:
        read = msgspec.convert(table, _Table)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    url = urlsplit(read.url)
    if url.hostname is None or url.fragment or url.username is not None:
        raise ValueError(f"url: expected http(s)://HOST[:PORT]/PATH, got {read.url}")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOCAL):
        raise ValueError(f"url: expected https except on this host, got {read.url}")
    for name, path in (("chain", read.chain), ("ca", read.ca or "/")):
        if not path.startswith("/"):
            raise ValueError(f"{name}: expected the absolute path of a PEM file")
    return Settings(read.url, _authority(read), read.ca, read.deadline_s, read.clock_skew_s)


def _authority(table: _Table) -> Authority:
    try:
        read = x509.load_pem_x509_certificates(Path(table.chain).read_bytes())
        chain = tuple([load_certificate(one.public_bytes(Encoding.DER)) for one in read])
    except (OSError, ValueError, Refusal) as exc:
        raise ValueError(f"chain: {table.chain}: {exc}") from exc
    if not 1 <= len(chain) <= _LONGEST_CHAIN:
        raise ValueError(f"chain: {table.chain}: expected 1 to {_LONGEST_CHAIN} certificates, the root last")
    return Authority("", table.url, chain, None, None)
