"""What ``sign.dsse``, ``sign.payload`` and ``sign.batch`` answer with. Unknown keys of a result are ignored.

Enumerated texts are plain str here, for the same reason: an older client must be able to read a newer daemon.
Any bin may be a :class:`~signerd.wire.params.Descriptor` where it is larger than the client's ``inline_max``.
"""

import msgspec
from msgspec import UNSET, UnsetType

from signerd.wire.messages import DetailValue
from signerd.wire.params import Descriptor

__all__ = [
    "BatchError",
    "BatchOutcome",
    "BatchResult",
    "Bin",
    "Decision",
    "DecisionKey",
    "EntitlementSummary",
    "Receipt",
    "ReleaseDecision",
    "Remaining",
    "SignResult",
    "SigningIdentity",
    "UserPresence",
    "VerifyCommand",
]

Bin = bytes | Descriptor


class Remaining(msgspec.Struct, frozen=True):
    """What is left of the plan; a key is absent where the plan has no such limit."""

    rate: int | UnsetType = UNSET
    """requests that may come at once"""
    daily: int | UnsetType = UNSET
    """signatures until the UTC day ends"""
    concurrency: int | UnsetType = UNSET
    """requests that may be in flight"""


class EntitlementSummary(msgspec.Struct, frozen=True):
    """Under which plan it was signed."""

    plan: str
    """its name"""
    remaining: Remaining
    """after this signature"""


class SigningIdentity(msgspec.Struct, frozen=True):
    """Who signed, one for each signature."""

    mode: str
    """`keyful` or `keyless`"""
    keyid: str
    """`sha256:` and hex of SHA-256 of the SPKI"""
    spki: Bin
    """public key, DER SubjectPublicKeyInfo"""
    algorithm: str
    """for instance `ES256`"""
    key_version: int
    """version of the key"""
    issuer: str | UnsetType = UNSET
    """keyless: issuer of the identity"""
    subject: str | UnsetType = UNSET
    """keyless: the identity"""
    not_before: int | UnsetType = UNSET
    """Unix milliseconds"""
    not_after: int | UnsetType = UNSET
    """Unix milliseconds"""
    attestation: Bin | UnsetType = UNSET
    """hardware's proof of the key"""
    chain: tuple[Bin, ...] | UnsetType = UNSET
    """keyless, with `include: chain`: DER certificates, leaf first, the anchor last"""


class VerifyCommand(msgspec.Struct, frozen=True):
    """A command that verifies what was signed."""

    argv: tuple[str, ...]
    """its arguments"""
    line: str
    """the same, quoted for a shell"""


class ReleaseDecision(msgspec.Struct, frozen=True):
    """What was found about the tool that made the predicate."""

    verdict: str
    """`trusted`, or `exempt` where the predicate type needs no release"""
    how: str
    """`signature`, `allowlist`, `approval` or `none`"""
    binding: str
    """`attested`: the daemon read the digest from the peer; `asserted`: the caller named it; `exempt`"""
    version: str | UnsetType = UNSET
    """year.month of the tool, where the evidence proves one"""


class DecisionKey(msgspec.Struct, frozen=True):
    """A key that was decided on."""

    key: str
    """key reference"""
    source: str
    """where the choice came from: the scheme of its backend, or `companion` for a key that was added in profile `dsse`
    to have a bundle"""
    keyid: str | UnsetType = UNSET
    """absent where it is known only after signing (keyless)"""
    version: int | UnsetType = UNSET
    """version of the key"""


class Decision(msgspec.Struct, frozen=True):
    """What was decided, as the `decided` record holds it."""

    principal: str
    """who asked"""
    tenant: str
    """for whom"""
    plan: str
    """under which plan"""
    release: ReleaseDecision
    """see ReleaseDecision"""
    keys: tuple[DecisionKey, ...]
    """one for each signature, in their order"""
    degraded: tuple[str, ...]
    """what was decided on less than usual: cached entitlement, a bypass, a manual approval; mostly empty"""
    transparency: str | UnsetType = UNSET
    """`async` or `required`; absent where nothing goes into a log"""
    timestamp: bool | UnsetType = UNSET
    """true where the signatures were to be stamped"""


class Receipt(msgspec.Struct, frozen=True):
    """Where the decision stands in the audit log."""

    audit_id: str
    """id of the record"""
    index: int
    """place of the `decided` leaf, from 0"""
    leaf_hash: str
    """hex of SHA-256(0x00 ‖ leaf)"""
    decision: Decision
    """see Decision"""
    decision_digest: str
    """hex of SHA-256 of the decision's RFC 8785 form"""


class UserPresence(msgspec.Struct, frozen=True):
    """Who approved a signature that needs it, and the evidence."""

    approval_id: str
    """the approval that was used up"""
    key: str
    """reference of the credential"""
    keyid: str
    """`fido2:`, then the keyid of the credential's key: what the assertion has in the combined envelope"""
    counter: int
    """the authenticator's signature counter; 0 where it keeps none"""
    assertion: Bin
    """deterministic CBOR `[fmt, authenticatorData, clientDataJSON, signature]`, over SHA-256 of the PAE"""


class SignResult(msgspec.Struct, frozen=True):
    """A signed statement, or a signed payload."""

    bundles: tuple[Bin, ...]
    """Sigstore bundles v0.3, RFC 8785 bytes, one for each signature, in the order of `keys`; in profile `dsse` that of
    the first ES256 key alone, or none; none in profile `cose`, and of `sign.payload`"""
    statement_sha256: str
    """hex, of the bytes that are signed: the statement's, or the payload's RFC 8785 form"""
    predicate_sha256: str
    """hex, of the predicate's or payload's bytes as received"""
    bundle_sha256: tuple[str, ...]
    """hex, of each bundle as returned"""
    envelope_sha256: str
    """hex, of the first bundle's `dsseEnvelope` alone: stays the same when a log entry or stamp is added later; of
    `envelope` where there is no bundle; empty in profile `cose`"""
    signing_identity: tuple[SigningIdentity, ...]
    """one for each signature, in the order of the envelope's; in profile `dsse` the companion's comes last"""
    cosign_verifiable: bool
    """whether there is a bundle: stock cosign verifies each with its command, and nothing of `envelope`"""
    warnings: tuple[str, ...]
    """sentences for people"""
    verify_command: tuple[VerifyCommand, ...]
    """ready commands, one for each bundle or COSE_Sign1"""
    entitlement: EntitlementSummary
    """see EntitlementSummary"""
    receipt: Receipt
    """see Receipt"""
    envelope: Bin | UnsetType = UNSET
    """with `include: envelope` or profile `dsse`: one DSSE envelope with all signatures"""
    certificate_chain: tuple[Bin, ...] | UnsetType = UNSET
    """with `include: chain`: DER certificates of the first keyless signature, leaf first, the anchor last"""
    rekor_request: tuple[Bin, ...] | UnsetType = UNSET
    """with `include: rekor_request`: a `hashedRekordRequestV002` for each bundle, JSON as a Rekor v2 log takes it"""
    cose: tuple[Bin, ...] | UnsetType = UNSET
    """in profile `cose`: a COSE_Sign1 message (RFC 9052) for each signature, in the order of `keys`"""
    presence: UserPresence | UnsetType = UNSET
    """see UserPresence; absent where no key needs one"""


class BatchError(msgspec.Struct, frozen=True):
    """Why an item was not signed."""

    code: str
    """a stable code, see Errors"""
    message: str
    """a sentence for people"""
    details: dict[str, DetailValue] | UnsetType = UNSET
    """as in an error message"""


class BatchOutcome(msgspec.Struct, frozen=True):
    """What became of one item: `ok` or `error`, never both."""

    index: int
    """place of the item, from 0"""
    ok: SignResult | UnsetType = UNSET
    """as the result of `sign.dsse`"""
    error: BatchError | UnsetType = UNSET
    """see BatchError"""


class BatchResult(msgspec.Struct, frozen=True):
    """An outcome for each item."""

    outcomes: tuple[BatchOutcome, ...]
    """in the order of the items"""
