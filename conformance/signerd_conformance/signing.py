"""The cases about a key and its signatures."""

import hashlib
import os
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.errors import Refusal
from signerd.host.memfd import sealed_memfd
from signerd.wire.messages import Error
from signerd.wire.worker_calls import PAYLOAD_INLINE, DescribeResult, SignResultParams
from signerd_conformance.bench import WORKER_PROTOCOL, Bench, Case, Key, verify
from signerd_conformance.profile import Judgement, ok, skip
from signerd_conformance.worker import Violation, shaped, told

__all__ = ["SIGNING_CASES"]

_MESSAGE: Final = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"


def _describe(bench: Bench, key: Key) -> Judgement:
    worker = bench.worker()
    described = worker.result("describe", {"key": key.reference}, DescribeResult)
    public = key.public
    if described.spki != public.spki:
        raise Violation("two answers name two keys")
    if described.keyid != public.keyid:
        raise Violation(f"keyid is {described.keyid[:80]}, the SHA-256 of spki is {public.keyid}")
    if described.algorithm != key.algorithm:
        raise Violation(f"algorithm is {described.algorithm[:40]}, spki is a key for {public.algorithm}")
    hashed = public.prehash or key.credential is not None
    if described.prehash not in ("", "sha256") or (described.prehash and not hashed):
        raise Violation(f"prehash is {described.prehash[:40]!r} for {public.algorithm}")
    if described.chain:
        _check_leaf(described.chain[0], public.spki)
    return ok(f"{key.algorithm}{' from the digest' if key.prehash else ''}")


def _check_leaf(der: bytes, spki: bytes) -> None:
    try:
        certified = x509.load_der_x509_certificate(der).public_key()
        found = certified.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError as exc:
        raise Violation(f"the first of chain is no certificate ({exc})") from None
    if found != spki:
        raise Violation("the first of chain certifies another key")


def _describe_absent(bench: Bench) -> Judgement:
    return _not_found(bench, "describe", {"key": bench.absent()})


def _describe_scheme(bench: Bench) -> Judgement:
    return _not_found(bench, "describe", {"key": "x-conformance:absent"})


def _sign_absent(bench: Bench) -> Judgement:
    return _not_found(bench, "sign", {"key": bench.absent(), "message": bytes(32)})


def _not_found(bench: Bench, method: str, params: object) -> Judgement:
    refused = bench.worker().refusal(method, params)
    if refused.code != "key.not_found":
        raise Violation(f"{told(refused)} and not key.not_found")
    return ok(told(refused))


def _signed(bench: Bench, key: Key, message: bytes) -> SignResultParams:
    signed = bench.worker().result("sign", key.params(message), SignResultParams)
    verify(key, message, signed)
    return signed


def _sign(bench: Bench, key: Key) -> Judgement:
    return ok(f"{len(_signed(bench, key, _MESSAGE).signature)} bytes by {key.public.keyid[:19]}")


def _sign_der(bench: Bench, key: Key) -> Judgement:
    if not key.algorithm.startswith("ES"):
        return skip(f"{key.algorithm} has no DER form")
    # The integers of a signature are shorter at times, and may need a leading zero: one alone shows little.
    for number in range(16):
        signed = bench.worker().result("sign", key.params(bytes([number])), SignResultParams)
        try:
            key.public.verify(signed.signature, bytes([number]))
        except Refusal as exc:
            raise Violation(f"a signature of {len(signed.signature)} bytes: {exc.reason}") from None
    return ok("16 of the one DER form")


def _sign_keyid(bench: Bench, key: Key) -> Judgement:
    signed = bench.worker().result("sign", key.params(_MESSAGE), SignResultParams)
    if signed.keyid != key.public.keyid:
        raise Violation(f"{signed.keyid[:80]} and not {key.public.keyid}")
    return ok(signed.keyid[:19])


def _sign_prehash(bench: Bench, key: Key) -> Judgement:
    if not key.prehash:
        # A message of a digest's length is a message like any other.
        _signed(bench, key, hashlib.sha256(_MESSAGE).digest())
        return ok("32 bytes are a message")
    _signed(bench, key, _MESSAGE)
    refused = bench.worker().refusal("sign", {"key": key.reference, "message": bytes(31)})
    return ok(f"31 bytes are no digest: {told(refused)}")


def _sign_empty(bench: Bench, key: Key) -> Judgement:
    _signed(bench, key, b"")
    return ok("an empty message")


def _sign_byte(bench: Bench, key: Key) -> Judgement:
    _signed(bench, key, b"\0")
    return ok("a message of one byte")


def _sign_longest(bench: Bench, key: Key) -> Judgement:
    _signed(bench, key, bytes(PAYLOAD_INLINE))
    return ok(f"{PAYLOAD_INLINE} bytes{', as their digest' if key.prehash else ' inline'}")


def _sign_memfd(bench: Bench, key: Key) -> Judgement:
    if key.prehash:
        return skip("gets the digest, which is never that long")
    message = os.urandom(PAYLOAD_INLINE + 1)
    fd = sealed_memfd("message", message)
    try:
        params = {"key": key.reference, "message": {"fd": 0, "size": len(message)}}
        verify(key, message, bench.worker().result("sign", params, SignResultParams, (fd,)))
    finally:
        os.close(fd)
    return ok(f"{len(message)} bytes")


def _sign_again(bench: Bench, key: Key) -> Judgement:
    same = _signed(bench, key, _MESSAGE).signature == _signed(bench, key, _MESSAGE).signature
    return ok("the same signature" if same else "another signature, which verifies too")


def _in_flight(bench: Bench, key: Key) -> Judgement:
    worker = bench.worker()
    messages = {worker.request("sign", key.params(one)): one for one in (b"first", b"second")}
    waiting, order = dict(messages), []
    while waiting:
        answer = worker.answer(*waiting)
        if isinstance(answer, Error):
            raise Violation(f"sign is refused: {told(answer)}")
        verify(key, waiting.pop(answer.id), shaped(answer.result, SignResultParams, "sign"))
        order.append(answer.id)
    return ok("answered in order" if order == sorted(order) else "answered out of order, each by its id")


SIGNING_CASES: Final = (
    Case("describe", f"{WORKER_PROTOCOL}; RFC 5280, section 4.1", judge_key=_describe),
    Case("describe-absent", f"{WORKER_PROTOCOL}: describe", _describe_absent),
    Case("describe-scheme", f"{WORKER_PROTOCOL}: describe", _describe_scheme),
    Case("sign", f"{WORKER_PROTOCOL}: sign", judge_key=_sign),
    Case("sign-der", "RFC 3279, section 2.2.3", judge_key=_sign_der, optional=True),
    Case("sign-keyid", f"{WORKER_PROTOCOL}: sign", judge_key=_sign_keyid),
    Case("sign-absent", f"{WORKER_PROTOCOL}: sign", _sign_absent),
    Case("sign-prehash", f"{WORKER_PROTOCOL}: prehash", judge_key=_sign_prehash),
    Case("sign-empty", f"{WORKER_PROTOCOL}: sign", judge_key=_sign_empty),
    Case("sign-byte", f"{WORKER_PROTOCOL}: sign", judge_key=_sign_byte),
    Case("sign-longest", f"{WORKER_PROTOCOL}: sign, inline", judge_key=_sign_longest),
    Case("sign-memfd", f"{WORKER_PROTOCOL}: sign, descriptor", judge_key=_sign_memfd, optional=True),
    Case("sign-again", "for information: RFC 8032, RFC 6979", judge_key=_sign_again),
    Case("in-flight", f"{WORKER_PROTOCOL}: many in flight", judge_key=_in_flight),
)
"""Names are stable: one is never given to another case."""
