"""Envelope and bundles of an inline payload, from signatures that have verified."""

import hashlib

from signerd.attestation.bundle import dsse_envelope_bytes, keyful_bundle
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope
from signerd.sealer.job import Job
from signerd.wire.links import Sealed, SealedSignature

__all__ = ["assemble", "signers"]


def assemble(job: Job, payload: bytes) -> Sealed:
    """Return envelope and bundles of an inline payload: RFC 8785 bytes, one bundle per signature, in order of the keys."""
    payload_type = job.item.payload_type
    payload_b64 = encode_base64(payload)
    signatures = []
    for pinned, signature in zip(job.keys, job.signatures, strict=True):
        assert signature is not None
        bundle = keyful_bundle(payload_b64, payload_type, signature, pinned.public.hint)
        envelope = dsse_envelope_bytes(payload_b64, payload_type, signature)
        entry = pinned.entry
        bundle_sha256 = hashlib.sha256(bundle).hexdigest()
        envelope_sha256 = hashlib.sha256(envelope).hexdigest()
        signatures.append(
            SealedSignature(entry.key, entry.keyid, entry.version, bundle, bundle_sha256, envelope_sha256)
        )
    combined = encode_envelope(payload_b64, payload_type, signers(job)) if job.item.envelope else None
    return Sealed(
        tuple(signatures), job.statement_sha256, job.decision_digest, job.leaf_hash, job.index, combined
    )


def signers(job: Job) -> list[Signature]:
    """Return the signatures of the combined envelope, each with the keyid that tells its signer apart."""
    pairs = zip(job.keys, job.signatures, strict=True)
    return [Signature(signature, pinned.public.envelope_keyid) for pinned, signature in pairs if signature is not None]
