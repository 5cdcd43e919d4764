"""Whether a bundle or an envelope verifies: offline, against given keys, every check with its outcome.

What does not verify is an answer, not an exception. No check passes that was not made: log entries and
timestamps of a bundle that a key verifies are reported as skipped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from signerd.attestation.bundle import LARGEST_BUNDLE, Bundle, parse_bundle
from signerd.attestation.dsse import Envelope, Signature, pae, parse_envelope
from signerd.attestation.statement import PAYLOAD_TYPE, Statement, Subject, parse_statement
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

__all__ = ["Check", "Outcome", "Verification", "printable", "verify_bundle", "verify_envelope"]

Outcome = Literal["passed", "failed", "skipped"]

_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its stable name, how it ended, a sentence in printable ASCII, and for a failure a stable
    reason."""

    name: str
    outcome: Outcome
    detail: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it. ``verified`` holds when the signature passed and no check failed.

    ``predicate_type``, ``subjects`` and ``statement`` (the payload's bytes) are set only if verified: what
    an unverified document says of itself is not passed on.
    """

    verified: bool
    checks: tuple[Check, ...]
    predicate_type: str | None = None
    subjects: tuple[Subject, ...] = ()
    statement: bytes | None = None

    @property
    def failure(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if check.outcome == "failed"), None)


class _Checks:
    """The checks of one verification, in the order in which they were made."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: list[Check] = []

    def passed(self, name: str, detail: str) -> None:
        self.made.append(Check(name, "passed", printable(detail)))

    def skipped(self, name: str, detail: str) -> None:
        self.made.append(Check(name, "skipped", printable(detail)))

    def failed(self, name: str, reason: str, detail: str) -> None:
        self.made.append(Check(name, "failed", printable(detail), reason))


def printable(text: str) -> str:
    """Give text that a stranger wrote in printable ASCII, everything else escaped, cut at 200
    characters."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return _NOT_PRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), cut)


def verify_bundle(
    text: bytes, key: PublicKey, *, artifact_sha256: str | None = None, predicate_type: str | None = None
) -> Verification:
    """Verify a Sigstore bundle with a public key.

    Checks, in order: ``bundle`` (size, form), ``material`` (a key signed, not a certificate), ``keyid``,
    ``signature``, ``payload_type``, ``statement``, ``subject`` (``artifact_sha256``, lowercase hex, is
    among the digests; skipped without one), ``predicate_type`` (literally equal; skipped without one),
    ``transparency`` and ``timestamp`` (skipped). What comes after a failure of the first six is not made.
    Raises nothing for a bundle that does not verify.
    """
    checks = _Checks()
    try:
        bundle = parse_bundle(text)
    except Refusal as refusal:
        checks.failed("bundle", refusal.reason, str(refusal))
        return Verification(False, tuple(checks.made))
    checks.passed("bundle", bundle.media_type)
    (signature,) = bundle.envelope.signatures
    if not _material_holds(checks, bundle, signature, key) or not _signature_holds(
        checks, bundle, signature, key
    ):
        return Verification(False, tuple(checks.made))
    return _conclude(checks, bundle.envelope, artifact_sha256, predicate_type, bundle)


def verify_envelope(
    text: bytes,
    keys: Sequence[PublicKey],
    *,
    threshold: int = 1,
    artifact_sha256: str | None = None,
    predicate_type: str | None = None,
) -> Verification:
    """Verify a DSSE envelope: at least ``threshold`` of the distinct ``keys`` signed its payload.

    A key counts once, however often it signed; a keyid decides only which key is tried first. The checks
    are those of :func:`verify_bundle` with ``envelope`` in place of the first three. Raises ValueError for
    a threshold below one or above the number of distinct keys, and nothing for an envelope that does not
    verify.
    """
    distinct = tuple(dict.fromkeys(keys))
    if not 1 <= threshold <= len(distinct):
        raise ValueError(f"a threshold of {threshold} over {len(distinct)} keys")
    checks = _Checks()
    try:
        if len(text) > LARGEST_BUNDLE:
            raise Refusal("verification.failed", "envelope_too_large", "the envelope is too large")
        envelope = parse_envelope(text)
    except Refusal as refusal:
        checks.failed("envelope", refusal.reason, str(refusal))
        return Verification(False, tuple(checks.made))
    checks.passed("envelope", f"{len(envelope.signatures)} signatures")
    signers = _signers(envelope, distinct)
    detail = f"{len(signers)} of {len(distinct)} keys signed, {threshold} needed"
    if len(signers) < threshold:
        checks.failed("signature", "threshold", detail)
        return Verification(False, tuple(checks.made))
    checks.passed("signature", f"{detail}: {', '.join(sorted(key.keyid for key in signers))}")
    return _conclude(checks, envelope, artifact_sha256, predicate_type, None)


def _material_holds(checks: _Checks, bundle: Bundle, signature: Signature, key: PublicKey) -> bool:
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


def _signature_holds(checks: _Checks, bundle: Bundle, signature: Signature, key: PublicKey) -> bool:
    try:
        key.verify(signature.sig, pae(bundle.envelope.payload_type, bundle.envelope.payload))
    except Refusal as refusal:
        checks.failed("signature", refusal.reason, refusal.public)
        return False
    checks.passed("signature", f"{key.algorithm} by {key.keyid}")
    return True


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


def _conclude(
    checks: _Checks,
    envelope: Envelope,
    artifact_sha256: str | None,
    predicate_type: str | None,
    bundle: Bundle | None,
) -> Verification:
    """Make the checks of what was signed, the signature being good."""
    if envelope.payload_type != PAYLOAD_TYPE:
        checks.failed("payload_type", "payload_type", f"not a Statement: {envelope.payload_type}")
        return Verification(False, tuple(checks.made))
    checks.passed("payload_type", PAYLOAD_TYPE)
    try:
        statement = parse_statement(envelope.payload)
    except Refusal as refusal:
        checks.failed("statement", refusal.reason, str(refusal))
        return Verification(False, tuple(checks.made))
    checks.passed("statement", statement.type)
    _check_subject(checks, statement, artifact_sha256)
    _check_predicate_type(checks, statement, predicate_type)
    if bundle is not None:
        checks.skipped("transparency", f"{len(bundle.log_entries)} log entries, none verified")
        checks.skipped("timestamp", f"{len(bundle.timestamps)} timestamps, none verified")
    if any(check.outcome == "failed" for check in checks.made):
        return Verification(False, tuple(checks.made))
    return Verification(
        True, tuple(checks.made), statement.predicate_type, statement.subjects, envelope.payload
    )


def _check_subject(checks: _Checks, statement: Statement, artifact_sha256: str | None) -> None:
    if artifact_sha256 is None:
        checks.skipped("subject", "no artefact given")
        return
    for subject in statement.subjects:
        if subject.digest.get("sha256") == artifact_sha256:
            checks.passed("subject", subject.name or "without a name")
            return
    checks.failed("subject", "subject_mismatch", "no subject has the sha256 digest of this artefact")


def _check_predicate_type(checks: _Checks, statement: Statement, predicate_type: str | None) -> None:
    if predicate_type is None:
        checks.skipped("predicate_type", f"any would pass; it is {statement.predicate_type}")
    elif statement.predicate_type == predicate_type:
        checks.passed("predicate_type", predicate_type)
    else:
        checks.failed("predicate_type", "predicate_type_mismatch", f"it is {statement.predicate_type}")
