"""Calls of the workers: sealer to key worker and publisher, and front end to document worker.

The key worker's half is public (``docs/protocol.md``, Worker protocol), so that a backend can be written in any
language: it uses the ordinary messages of :mod:`signerd.wire.messages`, with the params and results defined here.
The document worker's half is private. A payload above :data:`PAYLOAD_INLINE` is a sealed memfd.
"""

from typing import Final

import msgspec

from signerd.wire.params import Descriptor, Identity
from signerd.wire.verified import BundleVerified

__all__ = [
    "LINK_FRAME_BYTES",
    "MOST_FOUND",
    "PAYLOAD_INLINE",
    "STATEMENT_BYTES",
    "BatchCall",
    "BatchParams",
    "BatchResult",
    "BundleJudged",
    "CallError",
    "CallOutcome",
    "CheckDocument",
    "DescribeParams",
    "DescribeResult",
    "DocumentChecked",
    "EnrolParams",
    "EnrolResult",
    "FindParams",
    "FindResult",
    "GenerateParams",
    "JudgeBundle",
    "RotateParams",
    "RotateResult",
    "SignContext",
    "SignParams",
    "SignResultParams",
    "SubmitParams",
    "SubmitResult",
]

LINK_FRAME_BYTES: Final = 4 * 1024 * 1024
"""A frame of an internal link is at most this long; a larger group is cut into several."""
PAYLOAD_INLINE: Final = 256 * 1024
"""What is larger travels as a sealed memfd, so that no loop copies it."""
STATEMENT_BYTES: Final = 140 * 1024 * 1024
"""A Statement is at most this long: the largest payload with its subjects, and its bundle, base64, stays below what
verifiers take (192 MiB). RFC 8785 may write a number longer than it came, so a smaller document can exceed it too.
"""


class CallError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A typed error on a link; ``operator`` stays inside the daemon."""

    code: str
    reason: str
    message: str
    operator: str = ""


class DescribeParams(msgspec.Struct, frozen=True):
    """``describe``: the public half of a key."""

    key: str


class DescribeResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """``describe``'s result; ``prehash`` is ``sha256`` where ``sign`` wants the digest instead of the message.

    ``hardware`` (capability ``attest``): the private half was made in hardware and cannot leave it. A backend with the
    capability ``keyless`` has no key to describe: ``keyid`` and ``spki`` are empty, and each result of ``sign`` brings
    the certificate that signed.
    """

    algorithm: str
    keyid: str
    spki: bytes
    capabilities: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()
    prehash: str = ""
    hardware: bool = False


class SignContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """For whom a keyless key signs. ``identity_token`` (OIDC) is the request's own where it brought one: a secret."""

    tenant: str = ""
    audit_id: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"SignContext({self.tenant!r}, {self.audit_id!r}, ...)"


class SignParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """``sign``: message bytes, a sealed memfd of them, or the digest where ``describe`` said so.

    ``context`` comes to a backend with the capability ``keyless`` alone.
    """

    key: str
    message: bytes | Descriptor
    context: SignContext | None = None


class SignResultParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """``sign``'s result: the signature and the keyid of the key that made it; ``chain`` is DER, leaf first."""

    signature: bytes
    keyid: str
    chain: tuple[bytes, ...] = ()


class GenerateParams(msgspec.Struct, frozen=True):
    """``generate`` (capability): a new key under a free reference; the result is that of ``describe``."""

    key: str
    algorithm: str


class EnrolParams(msgspec.Struct, frozen=True):
    """``enrol`` (capability): a new credential of an authenticator under a free reference; a person is waited for."""

    key: str
    algorithm: str


class EnrolResult(DescribeResult, frozen=True, kw_only=True, omit_defaults=True):
    """``enrol``'s result: ``describe``'s, and what assertions of the credential are verified by; ``counter`` is that
    of its first one, ``aaguid`` and ``attestation`` (a format) are the authenticator's word."""

    rp_id: str
    origin: str = ""
    user_verification: bool = False
    counter: int = 0
    aaguid: str = ""
    attestation: str = ""


class RotateParams(msgspec.Struct, frozen=True):
    """``rotate`` (capability): a new key beside ``key``, which stays as it is and keeps its name."""

    key: str
    algorithm: str


class RotateResult(DescribeResult, frozen=True, kw_only=True, omit_defaults=True):
    """``rotate``'s result: ``describe``'s of the new key, and ``key``, what the backend calls it from now on."""

    key: str


class SubmitParams(msgspec.Struct, frozen=True):
    """``submit``, a publisher's one call: publish a signature, or have it stamped.

    ``payload_digest`` is that of the PAE by the key's own hash (empty for a stamp), ``verifier`` the key's SPKI or the
    leaf certificate in DER.
    """

    payload_digest: bytes
    signature: bytes
    verifier: bytes


class SubmitResult(msgspec.Struct, frozen=True):
    """``submit``'s result, checked by the publisher: a ``TransparencyLogEntry`` as JSON, or a DER ``TimeStampResp``."""

    proof: bytes


class FindParams(msgspec.Struct, frozen=True):
    """``find`` (capability of a log): which entries are over this digest."""

    payload_digest: bytes


class FindResult(msgspec.Struct, frozen=True):
    """``find``'s result: entries as JSON, checked by the publisher, among those from ``first`` to before ``size``."""

    proofs: tuple[bytes, ...]
    first: int
    size: int


MOST_FOUND: Final = 8
"""Entries of one answer to ``find``: with the longest proofs they fit into a frame."""


class BatchCall(msgspec.Struct, frozen=True):
    """One call of a batch: a method of this page and its params."""

    method: str
    params: msgspec.Raw


class BatchParams(msgspec.Struct, frozen=True):
    """``batch``: many calls in one frame."""

    items: tuple[BatchCall, ...]


class CallOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """One outcome of a batch, at the index of its call: exactly one of ``ok`` and ``error``."""

    # UNSET and not None: msgspec decodes no Raw that may also be nil.
    ok: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: CallError | None = None


class BatchResult(msgspec.Struct, frozen=True):
    """``batch``'s result, in the order of the calls: one bad item does not fail the others."""

    outcomes: tuple[CallOutcome, ...]


class CheckDocument(msgspec.Struct, frozen=True, tag_field="type", tag="check_document"):
    """Parse, validate and canonicalise one predicate; build the Statement.

    ``subjects`` are RFC 8785 bytes of the array. A ``bare`` one is signed itself: what is built is its canonical form.
    """

    id: int
    predicate_type: str
    predicate: bytes | Descriptor
    subjects: bytes
    policy_digest: str = ""
    policy_view_set: str = ""
    bare: bool = False


class DocumentChecked(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="document_checked"):
    """The Statement (in a sealed memfd where it is large) and the predicate's SHA-256 as received, or the refusal.

    ``pointer`` (RFC 6901) says where in the predicate.
    """

    id: int
    statement: bytes | Descriptor | None = None
    predicate_sha256: str = ""
    error: CallError | None = None
    pointer: str = ""


class JudgeBundle(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="judge_bundle"):
    """Verify one bundle for a caller of ``tenant``: by ``key`` (PEM), ``identity``, or the policy of that id."""

    id: int
    tenant: str
    bundle: bytes | Descriptor
    artifact_sha256: str | None = None
    predicate_type: str | None = None
    key: str | None = None
    identity: Identity | None = None
    policy: str | None = None


class BundleJudged(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="bundle_judged"):
    """What came of it: a :class:`~signerd.wire.verified.BundleVerified`, or the refusal."""

    id: int
    result: BundleVerified | None = None
    error: CallError | None = None
    details: dict[str, str] = {}
