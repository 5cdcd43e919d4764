"""COSE_Sign1 messages: did this key sign this Statement?

The algorithm follows from the key alone; the message must name the same.
"""

from signerd.attestation.algorithms import COSE_ALGORITHMS
from signerd.attestation.cose import CoseSign1, parse_cose, signature_structure
from signerd.attestation.dsse import Envelope
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import Refusal
from signerd.verification.bundle import check_statement
from signerd.verification.checks import Checks, Verification
from signerd.verification.fixed_length import from_fixed
from signerd.verification.keys import PublicKey

__all__ = ["verify_cose", "verify_cose_statement"]


def verify_cose(data: bytes | memoryview, key: PublicKey) -> bytes:
    """Return the payload of a message that ``key`` signed.

    Refuses with ``verification.failed``: the reasons of :func:`~signerd.attestation.cose.parse_cose`,
    ``algorithm_mismatch``, ``payload_type`` (the content type must be the Statement's), ``signature_invalid``; with
    ``key.algorithm_refused``, ``no_cose_algorithm``, for a key that COSE has no algorithm for. Raises nothing else.
    """
    return _opened(parse_cose(data), key)


def verify_cose_statement(
    data: bytes | memoryview,
    key: PublicKey,
    *,
    artifact_sha256: str | None = None,
    predicate_type: str | None = None,
) -> Verification:
    """Verify a message over a Statement; checks, in order: ``cose`` (form), ``signature``, and those of
    :func:`~signerd.verification.bundle.verify_bundle` from ``payload_type`` to ``predicate_type``. Raises nothing."""
    checks = Checks()
    try:
        message = parse_cose(data)
    except Refusal as refusal:
        checks.refused("cose", refusal)
        return checks.unverified()
    checks.passed("cose", "COSE_Sign1")
    try:
        payload = _opened(message, key)
    except Refusal as refusal:
        checks.refused("signature", refusal)
        return checks.unverified()
    checks.passed("signature", f"{key.algorithm} by {key.keyid}")
    statement = check_statement(checks, Envelope(PAYLOAD_TYPE, payload, ()), artifact_sha256, predicate_type)
    if statement is None or checks.any_failed:
        return checks.unverified()
    return Verification(
        True, tuple(checks.made), statement.predicate_type, statement.subjects, payload, keyid=key.keyid
    )


def _opened(message: CoseSign1, key: PublicKey) -> bytes:
    number = COSE_ALGORITHMS.get(key.algorithm)
    if number is None:
        raise Refusal("key.algorithm_refused", "no_cose_algorithm", "COSE has no algorithm for a key of this type")
    if message.algorithm != number:
        raise Refusal("verification.failed", "algorithm_mismatch", "the message names another algorithm than the key's")
    if message.content_type != PAYLOAD_TYPE:
        raise Refusal("verification.failed", "payload_type", "the message's content type is not a Statement's")
    signed = signature_structure(message.protected, len(message.payload)) + message.payload
    key.verify(from_fixed(key.algorithm, message.signature), signed)
    return message.payload
