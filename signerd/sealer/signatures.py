"""What a worker answered, verified; envelope and bundles of an inline payload, from signatures that have."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from signerd.attestation.bundle import dsse_envelope_bytes, keyful_bundle, keyless_bundle
from signerd.attestation.canonical import canonical_json
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope
from signerd.attestation.log_entry import LogEntry
from signerd.errors import SignerdError
from signerd.sealer.job import Job, Made, Pinned
from signerd.sealer.keyless import facts_of
from signerd.verification import rekor2
from signerd.verification.signed import Signed, own_digest
from signerd.wire.decoding import BROKEN
from signerd.wire.links import Sealed, SealedSignature
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import SignResultParams

__all__ = [
    "LARGEST_SIGNATURE",
    "Refuted",
    "assemble",
    "bundle_of",
    "rekor_requests",
    "sealed_signature",
    "signed_of",
    "signers",
    "verified",
]

_sign_result: Final = msgspec.msgpack.Decoder(SignResultParams)

LARGEST_SIGNATURE: Final = 8 * 1024
"""Bytes; above any algorithm's. What is longer is not looked at."""


class Refuted(Exception):  # the name says what is known of the worker now
    """The worker lied: this is no signature of the pinned key over the job's bytes. The text is the operator's."""


def verified(job: Job, place: int, result: msgspec.Raw, now_ms: int) -> Made:
    """Return the signature in ``result`` by the job's key at ``place``; raises Refuted (T17, T24)."""
    pinned = job.keys[place]
    try:
        answer = _sign_result.decode(result)
    except BROKEN as exc:
        raise Refuted("a signature out of shape") from exc
    key = pinned.entry.key
    try:
        made = _made(job, pinned, answer, now_ms)
        if answer.keyid != made.public.keyid or len(answer.signature) > LARGEST_SIGNATURE:
            raise Refuted(f"signed {key} with another key")
        if pinned.prehash:
            made.public.verify_prehashed(answer.signature, job.to_sign(place).sha256)
        else:
            made.public.verify(answer.signature, job.to_sign(place).message)
    except (SignerdError, ValueError) as error:
        reason = error.reason if isinstance(error, SignerdError) else str(error)
        raise Refuted(f"a signature by {key} does not verify ({reason})") from error
    return made


def _made(job: Job, pinned: Pinned, answer: SignResultParams, now_ms: int) -> Made:
    """Return the signature with the key that must have made it, the signature itself not yet verified."""
    if pinned.certificates is None:
        assert pinned.public is not None
        return Made(answer.signature, pinned.public)
    if not answer.chain:
        raise Refuted(f"signed {pinned.entry.key} without a certificate")
    vouched = pinned.certificates.vouch(answer.chain[0], job.item.identity, now_ms)
    if vouched.leaf.key.algorithm != pinned.entry.algorithm:
        raise Refuted(f"signed {pinned.entry.key} by a certificate for {vouched.leaf.key.algorithm}")
    return Made(answer.signature, vouched.leaf.key, vouched)


def assemble(job: Job, payload: bytes) -> Sealed:
    """Return envelope and bundles of an inline payload: RFC 8785 bytes, in the keys' order."""
    payload_type = job.item.payload_type
    payload_b64 = encode_base64(payload)
    signatures = []
    requests = rekor_requests(job)
    for place, (pinned, made) in enumerate(zip(job.keys, job.signatures, strict=True)):
        assert made is not None
        if place not in job.bundled:
            signatures.append(sealed_signature(pinned, made))
            continue
        bundle = bundle_of(payload_b64, payload_type, made, *job.beside(place))
        envelope = dsse_envelope_bytes(payload_b64, payload_type, made.signature)
        bundle_sha256 = hashlib.sha256(bundle).hexdigest()
        envelope_sha256 = hashlib.sha256(envelope).hexdigest()
        signatures.append(sealed_signature(pinned, made, bundle, bundle_sha256, envelope_sha256, requests[place]))
    combined, leaves = None, job.output.form == "envelope"
    if job.item.envelope or leaves:
        combined = encode_envelope(payload_b64, payload_type, signers(job))
    digest = hashlib.sha256(combined).hexdigest() if combined and leaves else ""
    return Sealed(
        tuple(signatures),
        job.statement_sha256,
        job.decision_digest,
        job.leaf_hash,
        job.index,
        combined,
        digest,
        job.presence.shown if job.presence else None,
    )


def bundle_of(
    payload_b64: bytes, payload_type: str, made: Made, log_entries: Sequence[LogEntry], timestamps: Sequence[bytes]
) -> bytes:
    """Return the bundle: its material is the key's hint, or the leaf certificate alone, and what was published."""
    beside = (log_entries, timestamps)
    if made.vouched is None:
        return keyful_bundle(payload_b64, payload_type, made.signature, made.public.hint, *beside)
    return keyless_bundle(payload_b64, payload_type, made.signature, made.vouched.leaf.der, *beside)


def sealed_signature(
    pinned: Pinned,
    made: Made,
    bundle: bytes | Descriptor = b"",
    bundle_sha256: str = "",
    envelope_sha256: str = "",
    rekor_request: bytes = b"",
) -> SealedSignature:
    """Return what the front end gets of one signature; no bundle where it stands in the envelope alone."""
    entry, vouched = pinned.entry, made.vouched
    return SealedSignature(
        entry.key,
        made.public.keyid,
        entry.version,
        bundle,
        bundle_sha256,
        envelope_sha256,
        rekor_request,
        None if vouched is None else facts_of(vouched),
    )


def signers(job: Job) -> list[Signature]:
    """Return the signatures of the combined envelope, each with the keyid that tells its signer apart; the assertion of
    whoever approved them comes last."""
    signed = [Signature(made.signature, made.public.envelope_keyid) for made in job.signatures if made is not None]
    given = job.presence
    return signed if given is None else [*signed, Signature(given.assertion, given.envelope_keyid)]


def signed_of(job: Job) -> dict[int, Signed]:
    """Return what each key signed whose signature leaves as a bundle, by its place and with the digest of its own hash.
    A signature must not be missing."""
    signed = {}
    for place in job.bundled:
        made = job.signatures[place]
        assert made is not None
        key, certificate = made.public, made.vouched.leaf.der if made.vouched else None
        framed = job.to_sign(place)
        digest = framed.sha256 if key.prehash else own_digest(key, memoryview(framed.message))
        signed[place] = (
            Signed(made.signature, key, certificate, None, None, None)
            if digest is None
            else Signed.of_digest(made.signature, key, certificate, digest)
        )
    return signed


def rekor_requests(job: Job) -> list[bytes]:
    """Return for each signature the JSON body of a post to a Rekor v2 log; empty where the item did not ask for it, and
    where there is no bundle.

    Refuses ``key.algorithm_refused`` for a key that no such log takes.
    """
    requests = [b""] * len(job.keys)
    if job.item.rekor_request:
        for place, one in signed_of(job).items():
            requests[place] = canonical_json(rekor2.hashedrekord_request(one, rekor2.key_details(one.key)))
    return requests
