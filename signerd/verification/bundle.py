"""Whether a bundle or an envelope verifies: offline, every check with its outcome.

What does not verify is an answer, not an exception. No check passes that was not made: without a trusted root,
log entries and timestamps of a bundle that a key verifies are reported as skipped.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from signerd.attestation.bundle import LARGEST_BUNDLE, Bundle, MessageSignature, parse_bundle
from signerd.attestation.dsse import Envelope, pae, parse_envelope
from signerd.attestation.statement import PAYLOAD_TYPE, Statement, parse_statement
from signerd.errors import Refusal
from signerd.verification.certificates import Identity, SigningCertificate
from signerd.verification.checks import Check, Checks, Outcome, Verification, printable
from signerd.verification.evidence import (
    Evidence,
    Requirements,
    check_certificate,
    check_log_entries,
    check_log_windows,
    check_timestamps,
)
from signerd.verification.keys import Message, PublicKey
from signerd.verification.signed import Signed, verify_message
from signerd.verification.trusted_root import TrustedRoot

__all__ = ["Check", "Outcome", "Verification", "check_statement", "printable", "verify_bundle", "verify_envelope"]

_NOTHING: Final = Requirements(log_entries=0, sct=False)
_HASHES: Final = {"SHA2_256": hashlib.sha256, "SHA2_384": hashlib.sha384, "SHA2_512": hashlib.sha512}


def verify_bundle(
    text: bytes,
    signer: PublicKey | Identity,
    *,
    artifact_sha256: str | None = None,
    artifact: Message | None = None,
    predicate_type: str | None = None,
    trusted_root: TrustedRoot | None = None,
    requirements: Requirements | None = None,
    now: datetime | None = None,
) -> Verification:
    """Verify a Sigstore bundle: this key, or a certificate of this identity, signed it.

    ``artifact`` is what it must be about, or ``artifact_sha256`` its digest alone (lowercase hex).
    ``requirements`` say what must be proven beside the signature; without them a certificate needs an SCT and
    a log entry, a key a log entry where a trusted root is given, else nothing. ``now`` is an aware time, else
    the clock's: no log or authority may be ahead of it.

    Checks, in order: ``bundle`` (size, form), ``material`` (a key or a certificate, as asked for), ``keyid``
    (of an envelope by a key), ``identity`` (of a certificate), ``signature``; of an envelope ``payload_type``,
    ``statement``, ``subject`` (the artefact's digest is among its subjects'; skipped without one) and
    ``predicate_type`` (literally equal; skipped without one), of a message ``subject``; ``transparency``,
    ``witnesses`` where asked for, ``timestamp``, ``log_window`` (where an entry tells no time); of a certificate
    ``certificate`` (its chain, at every proven time) and ``sct``. Nothing is made after a failure up to
    ``statement``. Raises ValueError for an identity or requirements without a trusted root, and nothing for a bundle
    that does not verify.
    """
    if trusted_root is None and (isinstance(signer, Identity) or (requirements or _NOTHING) != _NOTHING):
        raise ValueError("without a trusted root nothing can be required but a key's signature")
    checks = Checks()
    try:
        bundle = parse_bundle(text)
    except Refusal as refusal:
        checks.failed("bundle", refusal.reason, str(refusal))
        return checks.unverified()
    checks.passed("bundle", bundle.media_type)
    if artifact is not None and artifact_sha256 is None:
        with memoryview(artifact) as view:
            artifact_sha256 = hashlib.sha256(view).hexdigest()
    leaf: SigningCertificate | None = None
    if isinstance(signer, Identity):
        leaf = _certificate_holds(checks, bundle, signer)
        key = None if leaf is None else leaf.key
    else:
        key = signer if _key_holds(checks, bundle, signer) else None
    signed = None if key is None else _signature_holds(checks, bundle, key, leaf, artifact_sha256, artifact)
    if signed is None:
        return checks.unverified()
    statement = None
    if isinstance(bundle.content, Envelope):
        statement = check_statement(checks, bundle.content, artifact_sha256, predicate_type)
        if statement is None:
            return checks.unverified()
    else:
        _check_message(checks, bundle.content, signed, artifact_sha256, artifact, predicate_type)
    found = _check_beside(checks, bundle, signed, leaf, trusted_root, requirements, now)
    return checks.unverified() if checks.any_failed else _verified(checks, signed, leaf, statement, found)


def verify_envelope(
    text: bytes,
    keys: Sequence[PublicKey],
    *,
    threshold: int = 1,
    artifact_sha256: str | None = None,
    predicate_type: str | None = None,
    payload_type: str = PAYLOAD_TYPE,
) -> Verification:
    """Verify a DSSE envelope: at least ``threshold`` of the distinct ``keys`` signed its payload.

    A key counts once, however often it signed; a keyid decides only which key is tried first. The checks
    are those of :func:`verify_bundle` with ``envelope`` in place of the first three. Of another ``payload_type`` than
    a Statement's (a document signed bare) nothing is looked at after the check ``payload_type``. Raises ValueError for
    a threshold below one or above the number of distinct keys and for an artefact or a predicate type of what is no
    Statement, and nothing for an envelope that does not verify.
    """
    distinct = tuple(dict.fromkeys(keys))
    if not 1 <= threshold <= len(distinct):
        raise ValueError(f"a threshold of {threshold} over {len(distinct)} keys")
    bare = payload_type != PAYLOAD_TYPE
    if bare and (artifact_sha256, predicate_type) != (None, None):
        raise ValueError(f"{payload_type} has no subjects and no predicate type")
    checks = Checks()
    try:
        if len(text) > LARGEST_BUNDLE:
            raise Refusal("verification.failed", "envelope_too_large", "the envelope is too large")
        envelope = parse_envelope(text)
    except Refusal as refusal:
        checks.failed("envelope", refusal.reason, str(refusal))
        return checks.unverified()
    checks.passed("envelope", f"{len(envelope.signatures)} signatures")
    signers = _signers(envelope, distinct)
    detail = f"{len(signers)} of {len(distinct)} keys signed, {threshold} needed"
    if len(signers) < threshold:
        checks.failed("signature", "threshold", detail)
        return checks.unverified()
    checks.passed("signature", f"{detail}: {', '.join(sorted(key.keyid for key in signers))}")
    if bare:
        if envelope.payload_type != payload_type:
            checks.failed("payload_type", "payload_type", f"not {payload_type}: {envelope.payload_type}")
            return checks.unverified()
        checks.passed("payload_type", payload_type)
        return Verification(True, tuple(checks.made), statement=envelope.payload)
    statement = check_statement(checks, envelope, artifact_sha256, predicate_type)
    if statement is None or checks.any_failed:
        return checks.unverified()
    return Verification(
        True, tuple(checks.made), statement.predicate_type, statement.subjects, envelope.payload
    )


def _verified(
    checks: Checks,
    signed: Signed,
    leaf: SigningCertificate | None,
    statement: Statement | None,
    found: Evidence,
) -> Verification:
    return Verification(
        True,
        tuple(checks.made),
        None if statement is None else statement.predicate_type,
        () if statement is None else statement.subjects,
        None if signed.envelope is None else signed.envelope.payload,
        keyid=signed.key.keyid,
        san=None if leaf is None else leaf.san,
        issuer=None if leaf is None else leaf.issuer,
        times=tuple(found.times),
        log_entries=found.log_entries,
        timestamps=found.timestamps,
        witnesses=found.witnesses,
    )


def _key_holds(checks: Checks, bundle: Bundle, key: PublicKey) -> bool:
    """Make the checks ``material`` and ``keyid`` of a bundle that this key must have signed."""
    if bundle.hint is None:
        checks.failed(
            "material", "identity_required", "a certificate signed: an identity must be given, not a key"
        )
        return False
    if bundle.hint in (key.hint, key.openssh_fingerprint):
        checks.passed("material", "the hint names this key")
    else:
        # Nothing authenticates the hint; the signature decides.
        checks.skipped("material", f"the hint is no id of this key: {bundle.hint}")
    if isinstance(bundle.content, MessageSignature):
        return True
    (signature,) = bundle.content.signatures
    if signature.keyid is None:
        checks.passed("keyid", "none")
    elif signature.keyid != bundle.hint:
        checks.failed("keyid", "keyid_not_hint", "keyid and hint differ")
        return False
    elif signature.keyid != key.openssh_fingerprint:
        checks.failed(
            "keyid", "keyid_foreign", f"cosign skips a signature with this keyid: {signature.keyid}"
        )
        return False
    else:
        checks.passed("keyid", "the OpenSSH fingerprint of this key")
    return True


def _certificate_holds(checks: Checks, bundle: Bundle, identity: Identity) -> SigningCertificate | None:
    """Make the checks ``material`` and ``identity`` of a bundle that a certificate must have signed."""
    if bundle.hint is not None:
        checks.failed("material", "key_required", "a key signed: the key must be given, not an identity")
        return None
    try:
        leaf = SigningCertificate.read(bundle.certificates[0])
    except Refusal as refusal:
        checks.refused("material", refusal)
        return None
    checks.passed("material", "a certificate")
    try:
        leaf.require(identity)
    except Refusal as refusal:
        checks.refused("identity", refusal)
        return None
    checks.passed("identity", f"{leaf.san} by {leaf.issuer}")
    return leaf


def _signature_holds(
    checks: Checks,
    bundle: Bundle,
    key: PublicKey,
    leaf: SigningCertificate | None,
    artifact_sha256: str | None,
    artifact: Message | None,
) -> Signed | None:
    certificate = None if leaf is None else leaf.der
    try:
        if isinstance(bundle.content, Envelope):
            signed = Signed.over_envelope(bundle.content, key, certificate)
        else:
            signed = verify_message(
                bundle.content.signature, key, certificate, sha256=artifact_sha256, content=artifact
            )
    except Refusal as refusal:
        checks.refused("signature", refusal)
        return None
    checks.passed("signature", f"{key.algorithm} by {key.keyid}")
    return signed


def _signers(envelope: Envelope, keys: tuple[PublicKey, ...]) -> set[PublicKey]:
    """Find which keys signed."""
    message = pae(envelope.payload_type, envelope.payload)
    signers: set[PublicKey] = set()
    for signature in envelope.signatures:
        # A key that signed once is not tried again: it could not count twice.
        candidates = [key for key in keys if key not in signers]
        candidates.sort(key=lambda candidate: candidate.envelope_keyid != signature.keyid)  # used at once
        for candidate in candidates:
            try:
                candidate.verify(signature.sig, message)
            except Refusal:
                continue
            signers.add(candidate)
            break
    return signers


def check_statement(
    checks: Checks, envelope: Envelope, artifact_sha256: str | None, predicate_type: str | None
) -> Statement | None:
    """Make the checks of what an envelope says, its signature being good: ``payload_type`` to ``predicate_type`` of
    :func:`verify_bundle`. None where it is no Statement."""
    if envelope.payload_type != PAYLOAD_TYPE:
        checks.failed("payload_type", "payload_type", f"not a Statement: {envelope.payload_type}")
        return None
    checks.passed("payload_type", PAYLOAD_TYPE)
    try:
        statement = parse_statement(envelope.payload)
    except Refusal as refusal:
        checks.failed("statement", refusal.reason, str(refusal))
        return None
    checks.passed("statement", statement.type)
    _check_subject(checks, statement, artifact_sha256)
    _check_predicate_type(checks, statement, predicate_type)
    return statement


def _check_message(
    checks: Checks,
    message: MessageSignature,
    signed: Signed,
    artifact_sha256: str | None,
    artifact: Message | None,
    predicate_type: str | None,
) -> None:
    """Make the check of what a bundle says of the artefact, over which its signature is good."""
    said = message.algorithm
    if said is None:
        checks.skipped("subject", "the bundle names no digest")
    elif said not in _HASHES:
        checks.failed("subject", "digest_algorithm", f"the bundle names a digest by {said}")
    else:
        if said == signed.algorithm:
            digest = signed.digest
        elif artifact is not None:
            with memoryview(artifact) as view:
                digest = _HASHES[said](view).digest()
        else:
            digest = bytes.fromhex(artifact_sha256 or "") if said == "SHA2_256" else None
        if digest == message.digest:
            checks.passed("subject", "the artefact itself")
        else:
            checks.failed("subject", "subject_mismatch", "the bundle names another digest than the artefact's")
    if predicate_type is not None:
        checks.failed("predicate_type", "not_an_attestation", "the artefact itself was signed, no statement")


def _check_beside(
    checks: Checks,
    bundle: Bundle,
    signed: Signed,
    leaf: SigningCertificate | None,
    root: TrustedRoot | None,
    requirements: Requirements | None,
    now: datetime | None,
) -> Evidence:
    """Make the checks of what stands beside the signature."""
    found = Evidence()
    if root is None:
        checks.skipped("transparency", f"{len(bundle.log_entries)} log entries, none verified")
        checks.skipped("timestamp", f"{len(bundle.timestamps)} timestamps, none verified")
        return found
    needed = requirements or Requirements()
    at = now or datetime.now(UTC)
    check_log_entries(checks, found, bundle, signed, root, needed, at)
    check_timestamps(checks, found, bundle, signed, root, needed, at)
    check_log_windows(checks, found, at)
    if leaf is not None and not checks.any_failed:
        check_certificate(checks, found, leaf, root, needed)
    return found


def _check_subject(checks: Checks, statement: Statement, artifact_sha256: str | None) -> None:
    if artifact_sha256 is None:
        checks.skipped("subject", "no artefact given")
        return
    for subject in statement.subjects:
        if subject.digest.get("sha256") == artifact_sha256:
            checks.passed("subject", subject.name or "without a name")
            return
    checks.failed("subject", "subject_mismatch", "no subject has the sha256 digest of this artefact")


def _check_predicate_type(checks: Checks, statement: Statement, predicate_type: str | None) -> None:
    if predicate_type is None:
        checks.skipped("predicate_type", f"any would pass; it is {statement.predicate_type}")
    elif statement.predicate_type == predicate_type:
        checks.passed("predicate_type", predicate_type)
    else:
        checks.failed("predicate_type", "predicate_type_mismatch", f"it is {statement.predicate_type}")
