"""Where to sign: a Sigstore signing config, and the parts of a trusted root that its services are.

Source: sigstore ``protobuf-specs`` (``sigstore_trustroot.proto``: ``SigningConfig``, ``Service``,
``ServiceConfiguration``) in the JSON mapping of protobuf. A service that the trusted root does not know is not used:
nothing that it answered could be checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, NoReturn
from urllib.parse import urlsplit

import msgspec

from signerd.attestation.canonical import canonicalise
from signerd.errors import Refusal
from signerd.verification.certificates import Authority, within
from signerd.verification.trusted_root import Log, TrustedRoot

__all__ = ["LARGEST_SIGNING_CONFIG", "Services", "services_of"]

LARGEST_SIGNING_CONFIG: Final = 1024 * 1024
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_LOG_VERSION: Final = 2


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A protobuf message: a field it does not define is an error for every protojson reader."""


Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Window(_Message, frozen=True):
    start: Time
    end: Time | None = None


class _Service(_Message, frozen=True):
    url: str
    major_api_version: int
    valid_for: _Window
    operator: str = ""

    def serves(self, version: int, now: datetime) -> bool:
        return self.major_api_version == version and within(now, self.valid_for.start, self.valid_for.end)


class _Choice(_Message, frozen=True):
    selector: str
    count: int = 1


class _Config(_Message, frozen=True):
    media_type: str
    ca_urls: list[_Service] = []
    oidc_urls: list[_Service] = []
    rekor_tlog_urls: list[_Service] = []
    tsa_urls: list[_Service] = []
    rekor_tlog_config: _Choice | None = None
    tsa_config: _Choice | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What is used: one certificate authority with the CT logs of which one must have seen its certificates, and every
    log and timestamp authority that a proof is wanted of, each with its URL."""

    authority: tuple[str, Authority]
    ct_logs: tuple[Log, ...]
    logs: tuple[tuple[str, Log], ...]
    stamps: tuple[tuple[str, Authority], ...]


def services_of(text: bytes, root: TrustedRoot, now: datetime) -> Services:
    """Choose the services of a signing config that are in use at ``now``, the newest first where any one will do.

    Refuses with ``request.malformed``: ``signing_config`` (JSON, media type, an unknown field or selector, more than
    1 MiB); with ``request.unsupported``: ``service_missing`` (none is in use, or too few; of logs Rekor v2 counts
    alone) or ``service_unknown`` (the trusted root does not have it now).
    """
    config = _read(text)
    ca = _chosen("certificate authority", config.ca_urls, None, 1, now)[0]
    logs = _chosen("Rekor v2 log", config.rekor_tlog_urls, config.rekor_tlog_config, _LOG_VERSION, now)
    stamps = _chosen("timestamp authority", config.tsa_urls, config.tsa_config, 1, now)
    ct_logs = tuple(log for log in root.ct_logs if log.believed(now))
    if not ct_logs:
        _unsupported("service_unknown", "the trusted root has no CT log that is believed now")
    return Services(
        (ca.url, _authority(ca.url, root.certificate_authorities, now)),
        ct_logs,
        tuple((each.url, _log(each.url, root.logs, now)) for each in logs),
        tuple((each.url, _authority(each.url, root.timestamp_authorities, now)) for each in stamps),
    )


def _read(text: bytes) -> _Config:
    try:
        if len(text) > LARGEST_SIGNING_CONFIG:
            raise ValueError(f"more than {LARGEST_SIGNING_CONFIG} bytes")
        read = msgspec.convert(canonicalise(text).value, _Config)
        if read.media_type != _MEDIA_TYPE:
            raise ValueError("another media type than that of version 0.2")
    except (ValueError, Refusal) as exc:
        raise Refusal("request.malformed", "signing_config", f"not a signing config: {exc}") from exc
    return read


def _chosen(
    what: str, services: Sequence[_Service], choice: _Choice | None, version: int, now: datetime
) -> list[_Service]:
    usable = [service for service in services if service.serves(version, now)]
    usable.sort(key=lambda service: service.valid_for.start, reverse=True)
    selector = "ANY" if choice is None else choice.selector
    if selector not in ("ANY", "ALL", "EXACT"):
        raise Refusal("request.malformed", "signing_config", "not a signing config: an unknown selector")
    count = {"ANY": 1, "ALL": max(1, len(usable))}.get(selector, 1 if choice is None else max(1, choice.count))
    if len(usable) < count:
        _unsupported("service_missing", f"the signing config has {len(usable)} of {count}: {what} in use now")
    return usable[:count]


def _authority(url: str, authorities: Sequence[Authority], now: datetime) -> Authority:
    """Return the authority at that URL; of one that has changed its chain, the latest that is believed now."""
    known = [a for a in authorities if a.uri.rstrip("/") == url.rstrip("/") and within(now, a.start, a.end)]
    if not known:
        _unsupported("service_unknown", f"the trusted root has no authority now for {url[:200]}")
    return known[-1]


def _log(url: str, logs: Sequence[Log], now: datetime) -> Log:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    known = [log for log in logs if log.host == host and log.believed(now) and log.key.algorithm == "Ed25519"]
    if not known:
        _unsupported("service_unknown", f"the trusted root has no Rekor v2 log now for {url[:200]}")
    return known[-1]


def _unsupported(reason: str, public: str) -> NoReturn:
    raise Refusal("request.unsupported", reason, public)
