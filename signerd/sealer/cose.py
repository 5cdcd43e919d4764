"""The output profile ``cose``: a COSE_Sign1 message for each signature, in the place of its bundle."""

import hashlib

from signerd.attestation.cose import cose_head, cose_tail
from signerd.sealer.framing import cose_protected
from signerd.sealer.job import Job
from signerd.sealer.signatures import sealed_signature
from signerd.verification.fixed_length import to_fixed
from signerd.wire.links import Sealed
from signerd.wire.params import Descriptor

__all__ = ["assemble_cose", "cose_parts", "sealed_cose"]


def assemble_cose(job: Job, payload: bytes) -> Sealed:
    """Return the messages of an inline payload, in the keys' order."""
    messages = [before + payload + after for before, after in cose_parts(job, len(payload))]
    return sealed_cose(job, [(message, hashlib.sha256(message).hexdigest()) for message in messages])


def cose_parts(job: Job, length: int) -> list[tuple[bytes, bytes]]:
    """Return what stands before and behind a payload of ``length`` bytes in each message; the signatures have verified,
    and none is missing."""
    parts = []
    for made in job.signatures:
        assert made is not None
        signature = to_fixed(made.public.algorithm, made.signature)
        parts.append((cose_head(cose_protected(made.public), length), cose_tail(signature)))
    return parts


def sealed_cose(job: Job, messages: list[tuple[bytes | Descriptor, str]]) -> Sealed:
    """Return what leaves the sealer: each message with the hex of its SHA-256."""
    signatures = []
    for pinned, made, (message, digest) in zip(job.keys, job.signatures, messages, strict=True):
        assert made is not None
        signatures.append(sealed_signature(pinned, made, message, digest, ""))
    return Sealed(
        tuple(signatures),
        job.statement_sha256,
        job.decision_digest,
        job.leaf_hash,
        job.index,
        presence=job.presence.shown if job.presence else None,
    )
