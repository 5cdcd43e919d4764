"""Vectors of frames: a second implementation of msgpack writes them, from the maps that docs/protocol.md describes."""

import hashlib
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["WIRE_FRAMES", "WORKER_FRAMES"]

Map = dict[str, Any]

_SEED: Final = bytes(range(32))


def _frame(message: Map) -> str:
    body: bytes = msgpack.packb(message)
    return (len(body).to_bytes(4, "big") + body).hex()


def _request(number: int, method: str, params: Map, **more: object) -> Map:
    return {"type": "request", "id": number, "method": method, "params": params, **more}


def _key(seed: bytes) -> tuple[ed25519.Ed25519PrivateKey, Map]:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keyid = f"sha256:{hashlib.sha256(spki).hexdigest()}"
    return private, {"algorithm": "Ed25519", "keyid": keyid, "spki": spki, "capabilities": ["generate"]}


def _exchange(comment: str, request: Map, answer: Map) -> Map:
    return {"comment": comment, "request_hex": _frame(request), "answer_hex": _frame(answer)}


def _signed(message: bytes) -> Map:
    private, described = _key(_SEED)
    return {"signature": private.sign(message), "keyid": described["keyid"]}


def _failure(code: str, reason: str, message: str) -> Map:
    return {"code": code, "reason": reason, "message": message}


def _error(number: int, code: str, reason: str, message: str) -> Map:
    error = {"type": "error", "code": code, "message": message, "retryable": False}
    return {**error, "id": number, "details": {"reason": reason}}


def _response(number: int, result: Map) -> Map:
    return {"type": "response", "id": number, "result": result}


_GIVEN: Final = {"key": "x:given"}
_ABSENT: Final = {"key": "x:absent"}
_NO_SUCH_KEY: Final = "key.not_found", "no_such_key", "no such key"

WORKER_FRAMES: Final = {
    "comment": "Frames of the worker protocol (docs/protocol.md), in this order on one link after the hellos. The "
    "worker has x:given, the Ed25519 key of the seed 00 01 ... 1f, and makes any other of the seed of zeros. Its "
    "answers are byte-exact but for the texts of errors (message, operator), which are free, and for the order of keys "
    "in a map, which means nothing.",
    "seed_hex": _SEED.hex(),
    "hello_hex": _frame({"type": "hello", "versions": [1], "software": "example/1.0"}),
    "accept": [
        _exchange("describe", _request(1, "describe", _GIVEN), _response(1, _key(_SEED)[1])),
        _exchange(
            "sign a message", _request(2, "sign", {**_GIVEN, "message": b"hello"}), _response(2, _signed(b"hello"))
        ),
        _exchange("the empty message", _request(3, "sign", {**_GIVEN, "message": b""}), _response(3, _signed(b""))),
        _exchange("a key that is not there", _request(4, "describe", _ABSENT), _error(4, *_NO_SUCH_KEY)),
        _exchange(
            "a batch: an outcome for each call, at its place",
            _request(
                5,
                "batch",
                {
                    "items": [
                        {"method": "sign", "params": {**_GIVEN, "message": b"a"}},
                        {"method": "describe", "params": _ABSENT},
                        {"method": "sign", "params": {**_GIVEN, "message": b"b"}},
                    ]
                },
            ),
            _response(
                5,
                {"outcomes": [{"ok": _signed(b"a")}, {"error": _failure(*_NO_SUCH_KEY)}, {"ok": _signed(b"b")}]},
            ),
        ),
        _exchange("an empty batch", _request(6, "batch", {"items": []}), _response(6, {"outcomes": []})),
        _exchange(
            "generate",
            _request(2**32 - 1, "generate", {"key": "x:new", "algorithm": "Ed25519"}),
            _response(2**32 - 1, _key(bytes(32))[1]),
        ),
        _exchange(
            "generate under a name that is taken",
            _request(7, "generate", {**_GIVEN, "algorithm": "Ed25519"}),
            _error(7, "key.forbidden", "exists", "the key is there already"),
        ),
    ],
    "refuse": [
        {
            "comment": "a method that there is none of",
            "request_hex": _frame(_request(8, "x-none", {})),
            "code": "request.unsupported",
        },
        {
            "comment": "params without a key",
            "request_hex": _frame(_request(9, "describe", {})),
            "code": "request.malformed",
        },
        {
            "comment": "a key that is no text",
            "request_hex": _frame(_request(10, "describe", {"key": 5})),
            "code": "request.malformed",
        },
        {
            "comment": "a message that is a text and no bin",
            "request_hex": _frame(_request(11, "sign", {**_GIVEN, "message": "hello"})),
            "code": "request.malformed",
        },
        {
            "comment": "a descriptor that did not come",
            "request_hex": _frame(_request(12, "sign", {**_GIVEN, "message": {"fd": 0, "size": 5}})),
            "code": "request.malformed",
        },
    ],
}


def _malformed(
    comment: str, data: str, reason: str, *, hello: bool = True, code: str = "request.malformed", ends: bool = True
) -> Map:
    return {
        "comment": comment,
        "hello": hello,
        "data_hex": data,
        "code": code,
        "reason": reason,
        "connection_ends": ends,
    }


def _body(data: bytes) -> str:
    return (len(data).to_bytes(4, "big") + data).hex()


_HELLO: Final = {"type": "hello", "versions": [1], "software": "example/1.0"}
_HEALTH: Final = _request(1, "daemon.health", {})

WIRE_FRAMES: Final = {
    "comment": "What a server of sign.sock is sent and must refuse: data_hex as the first bytes of a connection, or "
    "after hello_hex where hello is true. code and reason (details.reason) are those of the error that it answers "
    "with; connection_ends says whether it closes then, or goes on.",
    "hello_hex": _frame(_HELLO),
    "refuse": [
        _malformed(
            "a length above 1 MiB",
            (1048577).to_bytes(4, "big").hex(),
            "frame_too_large",
            hello=False,
            code="request.too_large",
        ),
        _malformed("an empty frame", _body(b""), "not_msgpack", hello=False),
        _malformed("bytes that are no msgpack", _body(b"\xc1\xc1"), "not_msgpack", hello=False),
        _malformed("half a map", _body(b"\x82\xa4type"), "not_msgpack", hello=False),
        _malformed(
            "something behind the map", _body(bytes.fromhex(_frame(_HELLO))[4:] + b"\xc0"), "not_msgpack", hello=False
        ),
        _malformed("an array", _body(msgpack.packb([1])), "wrong_type", hello=False),
        _malformed("a map without a type", _body(msgpack.packb({"versions": [1]})), "missing_field", hello=False),
        _malformed("bytes that are no UTF-8", _body(b"\x81\xa4type\xa1\xff"), "bad_utf8", hello=False),
        _malformed("a request before the hello", _frame(_HEALTH), "hello_expected", hello=False),
        _malformed(
            "a hello of another version",
            _frame({**_HELLO, "versions": [2]}),
            "no_common_version",
            hello=False,
            code="request.unsupported",
        ),
        _malformed(
            "a hello without software", _frame({"type": "hello", "versions": [1]}), "missing_field", hello=False
        ),
        _malformed("a second hello", _frame(_HELLO), "second_hello"),
        _malformed("an answer", _frame(_response(1, {})), "not_from_this_side"),
        _malformed("a goaway", _frame({"type": "goaway", "reason": "stopping"}), "not_from_this_side"),
        _malformed("the id 0", _frame({**_HEALTH, "id": 0}), "out_of_range"),
        _malformed("an id beyond 32 bits", _frame({**_HEALTH, "id": 2**32}), "out_of_range"),
        _malformed("an id that is a text", _frame({**_HEALTH, "id": "1"}), "wrong_type"),
        _malformed("nil for a field that is absent", _frame({**_HEALTH, "deadline_ms": None}), "wrong_type"),
        _malformed("an id that is in flight", _frame(_HEALTH) * 2, "id_in_flight"),
        _malformed(
            "a key twice",
            _body(b"\x84\xa4type\xa6cancel\xa2id\x01\xa2id\x02\xa1x\xc0"),
            "repeated_key",
        ),
        _malformed("a deadline without time", _frame({**_HEALTH, "deadline_ms": 0}), "out_of_range", ends=False),
        _malformed(
            "a type that this version does not have",
            _frame({"type": "x-later", "id": 5}),
            "unknown_type",
            code="request.unsupported",
            ends=False,
        ),
    ],
}
