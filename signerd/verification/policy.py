"""Verification policies: who must have signed, what, when, and with what proof. Evaluation is pure and offline.

A policy is JSON; field names and meaning are those of the Attestor's verification policy, of which ``policyId``,
``version``, ``predicateTypes`` and ``signerRequirements`` are demanded. Several bundles over the same statement are
several signatures; one that does not verify takes nothing away from those that do.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NoReturn

import msgspec

from signerd.attestation.canonical import canonicalise
from signerd.errors import Refusal
from signerd.verification.checkpoint import Witness
from signerd.verification.evidence import Requirements
from signerd.verification.keys import PublicKey

__all__ = ["LARGEST_POLICY", "Policy", "SignerRequirements", "ValidityWindow", "parse_policy"]

LARGEST_POLICY: Final = 1024 * 1024
"""Bytes. Nothing larger is parsed."""

_Fingerprint = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[a-f0-9]{64}\Z")]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A field that is not understood could be a condition: it is an error."""


class SignerRequirements(_Message, frozen=True):
    """Who must have signed, and what must be proven beside the signature.

    ``minimum_signatures``: by so many distinct signers. A key counts if its id stands in
    ``trusted_key_fingerprints`` or it is one of ``trusted_keys`` (PEM); a certificate if its OIDC issuer stands
    in ``trusted_issuers`` and, where ``trusted_identities`` is not empty, its one name stands there.
    ``algorithms``: those of signing keys that count, all where empty. ``require_rekor`` and
    ``require_timestamp``: a log entry, an RFC 3161 stamp, of a log or authority of the trusted root.
    ``require_sct``: in certificates. ``witnesses``: verifier keys, of which ``minimum_witnesses`` must have
    cosigned the checkpoint of one entry.
    """

    minimum_signatures: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    trusted_key_fingerprints: tuple[_Fingerprint, ...] = ()
    trusted_keys: tuple[_Text, ...] = ()
    trusted_issuers: tuple[_Text, ...] = ()
    trusted_identities: tuple[_Text, ...] = ()
    algorithms: tuple[_Text, ...] = ()
    require_rekor: bool = False
    require_timestamp: bool = False
    require_sct: bool = True
    witnesses: tuple[_Text, ...] = ()
    minimum_witnesses: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0


class ValidityWindow(_Message, frozen=True):
    """When the signature must have been made, by a time that a log or authority proves: RFC 3339, both ends
    included; ``max_attestation_age`` in seconds before now."""

    not_before: str | None = None
    not_after: str | None = None
    max_attestation_age: Annotated[int, msgspec.Meta(ge=1, le=10**10)] | None = None


class _Policy(_Message, frozen=True):
    policy_id: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,128}\Z")]
    version: Annotated[
        str, msgspec.Meta(pattern=r"\A(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-+][0-9A-Za-z.+-]{1,128})?\Z")
    ]
    predicate_types: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1)]
    signer_requirements: SignerRequirements
    description: str = ""
    tenant_scope: _Text = "*"
    validity_window: ValidityWindow | None = None
    metadata: dict[str, Any] | None = None


class Policy(msgspec.Struct, frozen=True):
    """A policy that was read. ``digest`` is the lowercase hex of SHA-256 over its bytes; ``keys`` are its
    ``trustedKeys``, ``requirements`` what it demands beside a signature."""

    policy_id: str
    version: str
    digest: str
    predicate_types: tuple[str, ...]
    signers: SignerRequirements
    tenant_scope: str
    not_before: datetime | None
    not_after: datetime | None
    max_age: timedelta | None
    keys: tuple[PublicKey, ...]
    requirements: Requirements

    def trusts_key(self, key: PublicKey) -> bool:
        """Tell whether a signature by this key counts."""
        named = key.keyid in self.signers.trusted_key_fingerprints or key in self.keys
        return named and (not self.signers.algorithms or key.algorithm in self.signers.algorithms)

    def trusts_identity(self, san: str, issuer: str | None) -> bool:
        """Tell whether a certificate of this name and issuer counts."""
        identities = self.signers.trusted_identities
        return issuer in self.signers.trusted_issuers and (not identities or san in identities)


def parse_policy(text: bytes) -> Policy:
    """Read a policy.

    Refuses with ``request.malformed``: ``policy_too_large`` (1 MiB), ``policy_malformed`` (JSON, a missing or
    unknown field, a value out of its range), ``policy_trusts_nobody``, ``policy_key`` (one of its keys cannot be
    used), ``witness_key``, ``policy_witnesses`` (more demanded than named). Raises nothing else.
    """
    if len(text) > LARGEST_POLICY:
        _refuse("policy_too_large", f"a policy of more than {LARGEST_POLICY} bytes")
    try:
        read = msgspec.convert(canonicalise(text).value, _Policy)
    except msgspec.ValidationError as exc:
        _refuse("policy_malformed", f"not a verification policy: {exc}")
    except Refusal as refusal:
        _refuse("policy_malformed", f"not a verification policy: {refusal.public}")
    signers = read.signer_requirements
    if not (signers.trusted_key_fingerprints or signers.trusted_keys or signers.trusted_issuers):
        _refuse("policy_trusts_nobody", "the policy names no key and no issuer that it trusts")
    witnesses = {witness.key: witness for witness in map(Witness.parse, signers.witnesses)}
    if signers.minimum_witnesses > len(witnesses):
        _refuse("policy_witnesses", "the policy demands more witnesses than it names")
    window = read.validity_window or ValidityWindow()
    age = window.max_attestation_age
    return Policy(
        read.policy_id,
        read.version,
        hashlib.sha256(text).hexdigest(),
        read.predicate_types,
        signers,
        read.tenant_scope,
        None if window.not_before is None else _time(window.not_before),
        None if window.not_after is None else _time(window.not_after),
        None if age is None else timedelta(seconds=age),
        _keys(signers.trusted_keys),
        Requirements(
            log_entries=int(signers.require_rekor or signers.minimum_witnesses > 0),
            timestamps=int(signers.require_timestamp),
            sct=signers.require_sct,
            witnesses=tuple(witnesses.values()),
            witness_threshold=signers.minimum_witnesses,
        ),
    )


def _keys(texts: Sequence[str]) -> tuple[PublicKey, ...]:
    try:
        return tuple(PublicKey.from_pem(text) for text in texts)
    except Refusal as refusal:
        _refuse("policy_key", f"a key of the policy cannot be used: {refusal.public}")


def _time(text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError("not of the form of RFC 3339")
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        _refuse("policy_malformed", f"not a verification policy: a time: {exc}")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("request.malformed", reason, public) from None
