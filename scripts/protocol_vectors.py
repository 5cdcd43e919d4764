"""Byte-exact vectors of the protocol page: one of each message, and the ids of one key of each type.

Message vectors are made by the encoder that the wire uses; a test reads them back from the page with another
implementation of msgpack. Key ids are computed with `cryptography` alone, from keys whose private halves are
public numbers.
"""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_ssh_public_key,
    ssh_key_fingerprint,
)
from msgspec import Raw
from msgspec.json import encode as json_encode
from msgspec.msgpack import decode, encode

from signerd.wire.frames import encode_frame
from signerd.wire.messages import Cancel, Error, Goaway, Hello, Limits, Message, Request, Response
from signerd.wire.params import Descriptor, Options, SignDsse, Subject
from signerd.wire.worker_auth import Proof

__all__ = ["DESCRIPTORS", "KEYS", "MESSAGES", "auth_vector", "key_vectors", "message_vectors"]

DESCRIPTORS = 253
"""As many as Linux passes with one call (SCM_MAX_FD)."""

_NONCE = bytes(range(32))
_DIGEST = hashlib.sha256(b"hello\n").hexdigest()
_LIMITS = Limits(
    frame_bytes=4194304,
    inline_bytes=1048576,
    payload_bytes=134217728,
    in_flight=64,
    batch_items=256,
    subjects=1024,
    digests=32,
    descriptors=DESCRIPTORS,
    deadline_ms=120000,
)
_STATEMENT = SignDsse(
    subject=(Subject("hello.txt", {"sha256": _DIGEST}),),
    predicate_type="https://example.org/predicate/v1",
    predicate=b'{"ok":true}',
    options=Options(keys=("file:default",)),
)
_BY_DESCRIPTOR = SignDsse(
    subject=(Subject("hello.txt", fd=1, size=6),),
    predicate_type="https://example.org/predicate/v1",
    predicate=Descriptor(0, 11),
)
MESSAGES: dict[str, Message] = {
    "the client's hello": Hello((1,), "example/1.0"),
    "the server's hello": Hello(
        (1,),
        "signerd/0.1.0",
        version=1,
        limits=_LIMITS,
        methods=("session.bind", "sign.dsse"),
        profiles=("cosign", "dsse"),
        nonce=_NONCE,
    ),
    "a request without params": Request(1, "daemon.health", Raw(b"\x80")),
    "its response": Response(1, Raw(encode({"ready": True, "checks": []}))),
    "a request to sign": Request(2, "sign.dsse", Raw(encode(_STATEMENT)), deadline_ms=5000),
    "the same by descriptors": Request(3, "sign.dsse", Raw(encode(_BY_DESCRIPTOR))),
    "its cancellation": Cancel(3),
    "its error": Error(
        code="request.cancelled",
        message="the request was cancelled",
        retryable=False,
        id=3,
        details={"reason": "by_the_client"},
    ),
    "an error of the connection": Error(
        code="request.malformed",
        message="the message breaks the protocol",
        retryable=False,
        details={"reason": "second_hello"},
    ),
    "a goaway": Goaway("stopping"),
}
"""By what they are; together they use all six types."""

_RSA_2048 = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAmF34QzTJigNIJ0HNkL5udS/KdD7W3dq6O9jzJfzaWVjtGEu4qfpd"
    "ZDO5RqBnZIscWUr7YhtcR1MVJ84TXaS/MmvhjHDDIXwztq6aH4XKMj1rfxx+OPnEuFxD5Oblqxm4LTK/280ch/h7yXL/2hjT"
    "HTQW3KXQQxJOuzjG5qq8YnMFeEzjYPg7F/KgjdHVV2EqJVPIN8GNMD60BoP0sfJBnOwC8WX25KG+bHbYq4Q2qPcaT7Ux4Ij7"
    "uKs0t+9xo6CcAaasX3sCb6h5Gc8aypwOZE5U7Cy16L7VbjobwKD+IyW9CpXInyijUbAP4vvF6njdUxtkpb4Sa79a4poVkVLG"
    "CQIDAQAB"
)
_SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
KEYS = {
    "ES256 (private value 1)": ec.derive_private_key(1, ec.SECP256R1()).public_key().public_bytes(*_SPKI),
    "Ed25519 (seed 00 01 … 1f)": ed25519.Ed25519PrivateKey.from_private_bytes(_NONCE)
    .public_key()
    .public_bytes(*_SPKI),
    "RSA-2048": base64.b64decode(_RSA_2048),
}
"""SPKI by what it is."""


def message_vectors() -> str:
    """Each message as the map that it is and as the hex of its frame, length included."""
    parts = []
    for title, message in MESSAGES.items():
        frame = encode_frame(message)
        parts.append(
            f"{title[0].upper()}{title[1:]}:\n\n```json\n{_readable(frame[4:])}\n```\n\n```hex\n{_wrapped(frame.hex())}\n```"
        )
    return "\n\n".join(parts)


def key_vectors() -> str:
    """SPKI and the three ids of each key."""
    parts = []
    for title, spki in KEYS.items():
        digest = hashlib.sha256(spki).digest()
        key = load_ssh_public_key(
            load_der_public_key(spki).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        )
        fingerprint = base64.b64encode(ssh_key_fingerprint(key, SHA256())).decode().rstrip("=")
        hint = base64.b64encode(digest).decode()
        ids = f"keyid        sha256:{digest.hex()}\nhint         {hint}\nfingerprint  SHA256:{fingerprint}"
        parts.append(f"{title}:\n\n```text\n{ids}\n```\n\n```hex\n{_wrapped(spki.hex())}\n```")
    return "\n\n".join(parts)


def auth_vector() -> str:
    """Both hellos and both proofs of one connection at a socket path, with the credential that no frame holds."""
    credential = bytes(range(0x40, 0x60))
    sealer, worker = Proof(credential, "sealer", _NONCE), Proof(credential, "worker", bytes(range(0x20, 0x40)))
    hellos = Hello((1,), "example-sealer/1.0", nonce=sealer.nonce), Hello(
        (1,),
        "example-worker/1.0",
        version=1,
        methods=("describe", "sign", "batch"),
        nonce=worker.nonce,
    )
    worker.meet(hellos[0])
    sealer.meet(hellos[1])
    frames = [encode_frame(message) for message in (*hellos, sealer.auth(), worker.auth())]
    return "\n".join(
        (
            f"```text\ncredential  {credential.hex()}\n```\n",
            *(
                f"{title}:\n\n```text\n{_readable(frame[4:])}\n```\n\n```hex\n{_wrapped(frame.hex())}\n```\n"
                for title, frame in zip(
                    ("The sealer's hello", "The worker's hello", "The sealer's auth", "The worker's auth"),
                    frames,
                    strict=True,
                )
            ),
        )
    ).rstrip()


def _readable(body: bytes) -> str:
    """The map as JSON; a bin is written `h'…'`, which JSON has no form for."""

    def plain(value: object) -> object:
        if isinstance(value, bytes):
            return f"h'{value.hex()}'"
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    return json_encode(plain(decode(body))).decode()


def _wrapped(text: str) -> str:
    return "\n".join(text[start : start + 96] for start in range(0, len(text), 96))
