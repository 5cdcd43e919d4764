"""What a bundle holds, read as far as it can be read: a flaw in one place must not hide those in others."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from signerd.attestation.bundle import LARGEST_BUNDLE, MEDIA_TYPES
from signerd.attestation.canonical import canonicalise
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

__all__ = ["BYTES", "FIELDS", "INT64", "REPEATED", "Evidence", "Field", "at", "fields_of", "listed"]

_Shape = Mapping[str, "_Shape | None"]

_PROOF: Final[_Shape] = {
    "logIndex": None,
    "rootHash": None,
    "treeSize": None,
    "hashes": None,
    "checkpoint": {"envelope": None},
}
_ENTRY: Final[_Shape] = {
    "logIndex": None,
    "logId": {"keyId": None},
    "kindVersion": {"kind": None, "version": None},
    "integratedTime": None,
    "inclusionPromise": {"signedEntryTimestamp": None},
    "inclusionProof": _PROOF,
    "canonicalizedBody": None,
}
FIELDS: Final[_Shape] = {
    "mediaType": None,
    "verificationMaterial": {
        "publicKey": {"hint": None},
        "certificate": {"rawBytes": None},
        "x509CertificateChain": {"certificates": {"rawBytes": None}},
        "tlogEntries": _ENTRY,
        "timestampVerificationData": {"rfc3161Timestamps": {"signedTimestamp": None}},
    },
    "dsseEnvelope": {"payload": None, "payloadType": None, "signatures": {"sig": None, "keyid": None}},
    "messageSignature": {"messageDigest": {"algorithm": None, "digest": None}, "signature": None},
}
"""Every field that a bundle may have; one that repeats is described by one of its elements."""

BYTES: Final = frozenset(
    {
        "rawBytes",
        "keyId",
        "rootHash",
        "hashes",
        "signedEntryTimestamp",
        "canonicalizedBody",
        "signedTimestamp",
        "payload",
        "sig",
        "digest",
        "signature",
    }
)
"""Fields of type bytes: base64 in JSON."""

INT64: Final = frozenset({"logIndex", "integratedTime", "treeSize"})


REPEATED: Final = frozenset({"certificates", "tlogEntries", "rfc3161Timestamps", "signatures", "hashes"})


class Field(NamedTuple):
    """A field of a bundle: where it stands, its name, its value, and whether it is known and of the right
    kind."""

    pointer: str
    name: str
    value: object
    sound: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """A bundle, and what it is to be judged with.

    ``flaw``: why the text is no unambiguous JSON, or None. ``bundle``: what it decodes to, also with some
    flaws. ``payload``: the DSSE payload's bytes; ``statement`` and ``statement_flaw``: the same of it as of
    the bundle. ``digests``: those of the artefact by algorithm, empty if none was given. ``strict``:
    whether signerd's own choices are rules.
    """

    text: bytes
    flaw: str | None
    bundle: dict[str, object] | None
    payload: bytes | None
    statement_flaw: str | None
    statement: dict[str, object] | None
    key: PublicKey | None
    digests: Mapping[str, str]
    strict: bool

    @classmethod
    def read(
        cls,
        text: bytes,
        *,
        key: PublicKey | None = None,
        digests: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Self:
        """Read a bundle, whatever the bytes are. A text above the limit of 192 MiB is not looked into."""
        flaw, bundle = _read_object(text) if len(text) <= LARGEST_BUNDLE else ("bundle_too_large", None)
        payload = _lenient_base64(at(bundle, "dsseEnvelope", "payload"))
        statement_flaw, statement = _read_object(payload) if payload is not None else ("no payload", None)
        return cls(text, flaw, bundle, payload, statement_flaw, statement, key, digests or {}, strict)

    @property
    def minor(self) -> int:
        """The minor version of the media type; 3 where it is none that is known."""
        return MEDIA_TYPES.get(str(at(self.bundle, "mediaType")), 3)

    @property
    def keyid(self) -> str | None:
        """The keyid of the first signature, or None where it is absent or empty."""
        found = at(self.bundle, "dsseEnvelope", "signatures", 0, "keyid")
        return found if isinstance(found, str) and found else None

    @property
    def hint(self) -> str | None:
        """The key hint, or None where no key is named."""
        material = at(self.bundle, "verificationMaterial", "publicKey")
        hint = at(material, "hint")
        return None if not isinstance(material, dict) else hint if isinstance(hint, str) else ""

    @property
    def signature(self) -> bytes | None:
        """The first signature's bytes."""
        return _lenient_base64(at(self.bundle, "dsseEnvelope", "signatures", 0, "sig"))

    @property
    def log_entries(self) -> list[object]:
        """The log entries."""
        return listed(at(self.bundle, "verificationMaterial", "tlogEntries"))

    @property
    def timestamps(self) -> list[object]:
        """The RFC 3161 timestamps."""
        return listed(
            at(self.bundle, "verificationMaterial", "timestampVerificationData", "rfc3161Timestamps")
        )

    @property
    def subjects(self) -> list[object]:
        """The Statement's subjects."""
        return listed(at(self.statement, "subject"))


def at(value: object, *steps: str | int) -> object:
    """Follow keys and indices; None where one leads nowhere."""
    for step in steps:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def listed(value: object) -> list[object]:
    """Give a list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def fields_of(value: object, shape: _Shape = FIELDS, where: str = "") -> Iterator[Field]:
    """Walk a bundle by its shape: every field that it has, down to the first that is unknown or of a wrong
    kind."""
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        within = shape.get(name)
        field = Field(f"{where}/{name}", name, inner, name in shape and _is_kind(name, within, inner))
        yield field
        if within is not None and field.sound:
            for index, element in enumerate(listed(inner)):
                yield from fields_of(element, within, f"{field.pointer}/{index}")
            yield from fields_of(inner, within, field.pointer)


def _is_kind(name: str, within: _Shape | None, value: object) -> bool:
    """Tell whether a value is a list, an object or text where its field is; null stands for an absent
    one."""
    if value is None:
        return True
    if name in REPEATED:
        return isinstance(value, list) and all(isinstance(element, dict | str) for element in value)
    if within is not None:
        return isinstance(value, dict)
    return isinstance(value, str) or name in INT64


def _read_object(text: bytes) -> tuple[str | None, dict[str, object] | None]:
    try:
        return None, canonicalise(text, deepest=201).value
    except Refusal as refusal:
        flaw = refusal.reason
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return flaw, None
    return flaw, value if isinstance(value, dict) else None


def _lenient_base64(text: object) -> bytes | None:
    """Decode either alphabet, padded or not, as the most tolerant readers do."""
    if not isinstance(text, str):
        return None
    bare = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
