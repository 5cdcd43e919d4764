"""``scripts/bench --verify``: bundles verified a minute by one core, and the ratio to the bare P-256 verification.

Distinct bundles over Statements of 2 KiB, all made before the clock runs, with a trusted root that is parsed
already. CPU time of one thread, so that a busy machine disturbs little; medians of rounds.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.sigstore import ISSUER, NOW, SAN, Sigstore, b64, new_key, spki
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.bundle import Verification, verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.keys import PublicKey
from signerd.verification.trusted_root import parse_trusted_root

__all__ = ["Verified", "measure_verifying", "print_verifying"]

_BUNDLES = 64
_ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Verified:
    """A kind of bundle: how many of it a core verifies in a minute, and the time of one as a multiple of the bare
    verification of one P-256 signature over the same bytes."""

    name: str
    a_minute: float
    ratio: float


def measure_verifying(rounds: int = _ROUNDS) -> list[Verified]:
    """Measure each kind; raises AssertionError for a bundle that does not verify."""
    stack, private = Sigstore(), new_key()
    key, public = PublicKey.from_spki(spki(private)), private.public_key()
    root = parse_trusted_root(stack.trusted_root())
    statements = [_statement(turn) for turn in range(_BUNDLES)]
    messages = [pae(PAYLOAD_TYPE, statement) for statement in statements]
    signatures = [private.sign(message, ec.ECDSA(SHA256())) for message in messages]
    signed = list(zip(statements, signatures, strict=True))
    keyful = [keyful_bundle(encode_base64(text), PAYLOAD_TYPE, made, key.hint) for text, made in signed]
    verifier = {"publicKey": {"rawBytes": b64(key.spki)}}
    logged = []
    for bundle, message, made in zip(keyful, messages, signatures, strict=True):
        whole = json.loads(bundle)
        body = stack.hashedrekord2(hashlib.sha256(message).digest(), made, verifier)
        whole["verificationMaterial"]["tlogEntries"] = [stack.entry2(body)]
        logged.append(json.dumps(whole).encode())
    keyless = [json.dumps(stack.keyless(statement)).encode() for statement in statements]
    identity = Identity(SAN, ISSUER)

    def bare(turn: int) -> None:
        public.verify(signatures[turn], messages[turn], ec.ECDSA(SHA256()))

    kinds: Sequence[tuple[str, Callable[[int], object]]] = (
        ("bare P-256 verification", bare),
        ("key", lambda turn: _good(verify_bundle(keyful[turn], key))),
        ("key, log entry", lambda turn: _good(verify_bundle(logged[turn], key, trusted_root=root, now=NOW))),
        (
            "certificate, SCT, log entry, stamp",
            lambda turn: _good(verify_bundle(keyless[turn], identity, trusted_root=root, now=NOW)),
        ),
    )
    seconds = [_seconds(verify, rounds) for _, verify in kinds]
    return [
        Verified(name, 60 / taken, taken / seconds[0]) for (name, _), taken in zip(kinds, seconds, strict=True)
    ]


def print_verifying() -> int:
    """Print them as a table and return the exit status."""
    for row in measure_verifying():
        sys.stdout.write(f"{row.name:<36}{row.a_minute:>12,.0f} a minute{row.ratio:>8.1f} x\n")
    return 0


def _good(verification: Verification) -> None:
    assert verification.verified, verification.failure


def _statement(turn: int) -> bytes:
    predicate = json.dumps({"turn": turn, "text": "x" * 1700}).encode()
    return build_statement([Subject("app", {"sha256": f"{turn:064x}"})], "https://example.com/v1", predicate)


def _seconds(verify: Callable[[int], object], rounds: int) -> float:
    """CPU seconds of one, the median of rounds over all bundles."""
    taken = []
    for _ in range(rounds):
        start = time.thread_time()
        for turn in range(_BUNDLES):
            verify(turn)
        taken.append((time.thread_time() - start) / _BUNDLES)
    return median(taken)
