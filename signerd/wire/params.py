"""What each method is asked with: strict Structs, in which an unknown key is refused and not ignored.

Only shapes are judged here. What a subject or a predicate means is judged by those who understand it: a
digest of the wrong length is a well-formed request for a statement that cannot be.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal, Self

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from signerd.wire.frames import ENCODER

__all__ = [
    "AuditFilters",
    "AuditQuery",
    "Descriptor",
    "Identity",
    "KeysDescribe",
    "NoParams",
    "Options",
    "Poe",
    "PolicyMetadata",
    "SessionBind",
    "SignBatch",
    "SignDsse",
    "SignPayload",
    "Subject",
    "VerifyBatch",
    "VerifyBundle",
]

# A peer's array costs the receiver eight bytes an element before a single one is looked at. These ceilings
# stand above every limit that a configuration may set; they bound memory, and the daemon's own limits decide.
ITEMS_CEILING: Final = 4096
SUBJECTS_CEILING: Final = 16_384
DIGESTS_CEILING: Final = 1024
KEYS_CEILING: Final = 64
AUDIT_LIMIT_MAX: Final = 200
"""Records of one read: the sealer serves them beside its signing work."""

ShortText = Annotated[str, Meta(min_length=1, max_length=256)]
Sha256Reference = Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stands where a bin would: the bytes are in a descriptor that comes with the same frame."""

    fd: Annotated[int, Meta(ge=0)]
    """index among the descriptors of this frame, each named exactly once"""
    size: Annotated[int, Meta(ge=0)]
    """bytes in it, exactly"""


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty map."""


class SessionBind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks. With peer credentials as the configured authenticator: an empty map."""

    token: str | UnsetType = UNSET
    """operator token"""
    proof: str | UnsetType = UNSET
    """proof of possession for `session.bind`, over this connection's nonce"""
    tenant: ShortText | UnsetType = UNSET
    """the tenant that the caller expects; another one is `auth.tenant_mismatch`"""
    intermediates: Annotated[tuple[bytes, ...], Meta(max_length=8)] | UnsetType = UNSET
    """DER certificates between the client's and a root of its tenant"""


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the statement is about: with `digest`, or with `fd` and `size` for the daemon to hash."""

    name: str
    """not empty, no control characters, no two alike"""
    digest: Annotated[dict[str, str], Meta(max_length=DIGESTS_CEILING)] | UnsetType = UNSET
    """lowercase hex by algorithm: `sha256` always; `sha384`, `sha512` allowed; no two sets alike"""
    fd: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    """index of a descriptor of this frame: a regular file or a sealed memfd, read in one pass"""
    size: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    """bytes in it, exactly"""


class Poe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proof of entitlement."""

    format: Literal["jwt", "mtls", "none"]
    """which kind of proof"""
    value: str | UnsetType = UNSET
    """the proof; absent for `mtls` and `none`"""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to sign; every one may be absent."""

    mode: Literal["auto", "keyful", "keyless"] | UnsetType = UNSET
    """default `auto`"""
    keys: Annotated[tuple[ShortText, ...], Meta(max_length=KEYS_CEILING)] | UnsetType = UNSET
    """key references in the order of the signatures, none twice; default the tenant's default key"""
    profile: Literal["cosign", "dsse", "cose"] | UnsetType = UNSET
    """default `cosign`; `cose` publishes nothing, and refuses what is about envelopes"""
    transparency: Literal["none", "async", "required"] | UnsetType = UNSET
    """whether the answer waits for entries of the logs, or they come later; default the tenant's, mostly `none`"""
    timestamp: bool | UnsetType = UNSET
    """whether each bundle has an RFC 3161 stamp; default the tenant's, mostly false"""
    include: (
        Annotated[
            tuple[Literal["envelope", "chain", "rekor_request", "receipt_proof"], ...], Meta(max_length=4)
        ]
        | UnsetType
    ) = UNSET
    """further parts of the result, none twice; default none; `envelope`, `chain` and `rekor_request` are served"""
    identity_token: str | UnsetType = UNSET
    """OIDC token (JWT) in whose name keyless keys sign; needs the scope `signer.keyless`; never recorded or logged"""

    def over(self, defaults: "Options") -> "Options":
        """These options, and those of ``defaults`` where one is absent: how a batch item inherits."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return msgspec.structs.replace(
            defaults, **{name: value for name, value in given.items() if value is not UNSET}
        )


class PolicyMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For report predicates; equal to the predicate's own where both are there."""

    digest: str
    """digest of the policy"""
    view_set: str
    """its view set"""


class SignDsse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One in-toto Statement v1 with N signers."""

    subject: Annotated[tuple[Subject, ...], Meta(max_length=SUBJECTS_CEILING)]
    """at least one; the order is kept"""
    predicate_type: str
    """URI, or a short name of the catalogue"""
    predicate: bytes | Descriptor
    """the UTF-8 JSON text of one object, or a memfd of it, sealed against write, grow and shrink"""
    scanner_image_digest: Sha256Reference | UnsetType = UNSET
    """`sha256:` and hex: the release of the tool that made the predicate; required by most predicate types"""
    poe: Poe | UnsetType = UNSET
    """proof of entitlement, where the source of entitlements asks for one"""
    options: Options | UnsetType = UNSET
    """see Options"""
    policy: PolicyMetadata | UnsetType = UNSET
    """report predicates only"""
    approval_id: ShortText | UnsetType = UNSET
    """repeats a request that got `key.presence_required`; other bytes under it are `request.conflict`"""
    idempotency_key: ShortText | UnsetType = UNSET
    """the same answer for the same request for 10 minutes; another request under it is `request.conflict`"""

    @property
    def document(self) -> bytes | Descriptor:
        """What is to be judged, and signed within its Statement."""
        return self.predicate


class SignPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One document of a catalogued payload type, which is signed itself and not within a Statement: one DSSE envelope
    with N signers."""

    payload_type: Annotated[str, Meta(min_length=1, max_length=256)]
    """media type, the envelope's `payloadType`; never that of a Statement"""
    payload: bytes | Descriptor
    """the UTF-8 JSON text of one object, or a memfd of it, sealed against write, grow and shrink; its RFC 8785 form is
    what is signed"""
    subject: Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=SUBJECTS_CEILING)] | UnsetType = UNSET
    """what the record names; default one called `payload`, with the SHA-256 of the payload as received"""
    scanner_image_digest: Sha256Reference | UnsetType = UNSET
    """as in `sign.dsse`"""
    poe: Poe | UnsetType = UNSET
    """as in `sign.dsse`"""
    options: Options | UnsetType = UNSET
    """see Options; the profile is `dsse`, and nothing is published"""
    policy: PolicyMetadata | UnsetType = UNSET
    """as in `sign.dsse`"""
    approval_id: ShortText | UnsetType = UNSET
    """as in `sign.dsse`"""
    idempotency_key: ShortText | UnsetType = UNSET
    """as in `sign.dsse`"""

    @property
    def document(self) -> bytes | Descriptor:
        """What is to be judged and signed."""
        return self.payload


class SignBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many statements under one deadline, an outcome for each; there is no atomicity."""

    items: Annotated[tuple[Raw, ...], Meta(max_length=ITEMS_CEILING)]
    """each as the params of `sign.dsse`; one out of shape is refused alone"""
    options: Options | UnsetType = UNSET
    """defaults for all items; an item's own options override them field by field"""

    @classmethod
    def of(cls, items: Iterable[SignDsse], options: Options | UnsetType = UNSET) -> Self:
        """The batch of ``items``: they are encoded here, so that the receiver may judge each alone."""
        return cls(tuple(Raw(ENCODER.encode(item)) for item in items), options)


class KeysDescribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which key."""

    key: ShortText
    """key reference, or a `keyid`"""


class AuditFilters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that are there must hold."""

    audit_id: ShortText | UnsetType = UNSET
    """records of this id"""
    method: ShortText | UnsetType = UNSET
    """method of the request"""
    outcome: ShortText | UnsetType = UNSET
    """`signed`, `signed_undelivered`, `refused`, `fault`, `cancelled` or `unknown`"""
    code: ShortText | UnsetType = UNSET
    """error code of the outcome"""
    subject_sha256: ShortText | UnsetType = UNSET
    """hex digest of one of the subjects"""
    predicate_type: ShortText | UnsetType = UNSET
    """URI"""
    since: int | UnsetType = UNSET
    """Unix milliseconds, inclusive"""
    until: int | UnsetType = UNSET
    """Unix milliseconds, exclusive"""


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records of one's own tenant, oldest first."""

    filters: AuditFilters
    """see AuditFilters; an empty map takes all"""
    limit: Annotated[int, Meta(ge=1, le=AUDIT_LIMIT_MAX)]
    """at most so many records, 1 to 200"""
    cursor: ShortText | UnsetType = UNSET
    """`next` of the answer before"""


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a certificate must name, literally."""

    san: Annotated[str, Meta(min_length=1, max_length=2048)]
    """its one subject alternative name"""
    issuer: Annotated[str, Meta(min_length=1, max_length=2048)]
    """the OIDC issuer that vouched for it"""


class VerifyBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Sigstore bundle, and who must have signed it: `key`, `identity` or `policy`, for nothing in a bundle is a trust
    anchor. `key` may stand beside `policy`."""

    bundle: bytes | Descriptor
    """JSON text, or a memfd of it, of at most 192 MiB, sealed against write, grow and shrink"""
    artifact_sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")] | UnsetType = UNSET
    """what it must be about; absent: nothing is compared, and the check `subject` is skipped"""
    predicate_type: Annotated[str, Meta(min_length=1, max_length=2048)] | UnsetType = UNSET
    """URI, literally; absent: any passes. Not together with `policy`, which says itself which it takes"""
    key: Annotated[str, Meta(min_length=1, max_length=16_384)] | UnsetType = UNSET
    """PEM of the public key; with `policy` one that its fingerprints may name"""
    identity: Identity | UnsetType = UNSET
    """see Identity; the daemon must have a trusted root"""
    policy: ShortText | UnsetType = UNSET
    """`policyId` of a configured policy whose tenantScope holds the caller's tenant"""


class VerifyBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many bundles under one deadline, an outcome for each."""

    items: Annotated[tuple[Raw, ...], Meta(max_length=ITEMS_CEILING)]
    """each as the params of `verify.bundle`; one out of shape is refused alone"""

    @classmethod
    def of(cls, items: Iterable[VerifyBundle]) -> Self:
        """The batch of ``items``: they are encoded here, so that the receiver may judge each alone."""
        return cls(tuple(Raw(ENCODER.encode(item)) for item in items))
