"""What a worker answered, verified; envelope and bundles of an inline payload, from signatures that have."""

import hashlib
from typing import Final

import msgspec

from signerd.attestation.bundle import dsse_envelope_bytes, keyful_bundle
from signerd.attestation.canonical import canonical_json
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope
from signerd.errors import SignerdError
from signerd.sealer.job import Job
from signerd.verification import rekor2
from signerd.verification.signed import Signed, own_digest
from signerd.wire.decoding import BROKEN
from signerd.wire.links import Sealed, SealedSignature
from signerd.wire.worker_calls import SignResultParams

__all__ = ["LARGEST_SIGNATURE", "Refuted", "assemble", "rekor_requests", "signed_of", "signers", "verified"]

_sign_result: Final = msgspec.msgpack.Decoder(SignResultParams)

LARGEST_SIGNATURE: Final = 8 * 1024
"""Bytes; above any algorithm's. What is longer is not looked at."""


class Refuted(Exception):  # the name says what is known of the worker now
    """The worker lied: this is no signature of the pinned key over the job's bytes. The text is the operator's."""


def verified(job: Job, place: int, result: msgspec.Raw) -> bytes:
    """Return the signature in ``result`` by the job's key at ``place``; raises Refuted (T17)."""
    pinned = job.keys[place]
    try:
        answer = _sign_result.decode(result)
    except BROKEN as exc:
        raise Refuted("a signature out of shape") from exc
    if answer.keyid != pinned.entry.keyid or len(answer.signature) > LARGEST_SIGNATURE:
        raise Refuted(f"signed {pinned.entry.key} with another key")
    try:
        if pinned.prehash:
            pinned.public.verify_prehashed(answer.signature, job.pae_sha256)
        else:
            pinned.public.verify(answer.signature, job.message)
    except SignerdError as error:
        raise Refuted(f"a signature by {pinned.entry.key} does not verify ({error.reason})") from error
    return answer.signature


def assemble(job: Job, payload: bytes) -> Sealed:
    """Return envelope and bundles of an inline payload: RFC 8785 bytes, a bundle per signature, in the keys' order."""
    payload_type = job.item.payload_type
    payload_b64 = encode_base64(payload)
    signatures = []
    requests = rekor_requests(job)
    for place, (pinned, signature) in enumerate(zip(job.keys, job.signatures, strict=True)):
        assert signature is not None
        bundle = keyful_bundle(payload_b64, payload_type, signature, pinned.public.hint, *job.beside(place))
        envelope = dsse_envelope_bytes(payload_b64, payload_type, signature)
        entry = pinned.entry
        bundle_sha256 = hashlib.sha256(bundle).hexdigest()
        envelope_sha256 = hashlib.sha256(envelope).hexdigest()
        signatures.append(
            SealedSignature(
                entry.key, entry.keyid, entry.version, bundle, bundle_sha256, envelope_sha256, requests[place]
            )
        )
    combined = encode_envelope(payload_b64, payload_type, signers(job)) if job.item.envelope else None
    return Sealed(
        tuple(signatures), job.statement_sha256, job.decision_digest, job.leaf_hash, job.index, combined
    )


def signers(job: Job) -> list[Signature]:
    """Return the signatures of the combined envelope, each with the keyid that tells its signer apart."""
    pairs = zip(job.keys, job.signatures, strict=True)
    return [Signature(signature, pinned.public.envelope_keyid) for pinned, signature in pairs if signature is not None]


def signed_of(job: Job) -> list[Signed]:
    """Return what each key signed, by the digest of its own hash. A signature must not be missing."""
    made = []
    for pinned, signature in zip(job.keys, job.signatures, strict=True):
        assert signature is not None
        key = pinned.public
        digest = job.pae_sha256 if key.prehash else own_digest(key, memoryview(job.message))
        made.append(
            Signed(signature, key, None, None, None, None)
            if digest is None
            else Signed.of_digest(signature, key, None, digest)
        )
    return made


def rekor_requests(job: Job) -> list[bytes]:
    """Return for each signature the JSON body of a post to a Rekor v2 log; empty where the item did not ask for it.

    Refuses ``key.algorithm_refused`` for a key that no such log takes.
    """
    if not job.item.rekor_request:
        return [b""] * len(job.keys)
    requests = [rekor2.hashedrekord_request(one, rekor2.key_details(one.key)) for one in signed_of(job)]
    return [canonical_json(request) for request in requests]
