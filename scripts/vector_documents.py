"""Vectors of documents: PAE by its definition, canonical JSON and Statements by the package rfc8785."""

import hashlib
import json
from typing import Final

import rfc8785

__all__ = ["CANONICAL_JSON", "PAE", "STATEMENTS"]

IN_TOTO: Final = "application/vnd.in-toto+json"
LARGEST: Final = 2**53 - 1


def _pae(comment: str, payload_type: str, payload: bytes) -> dict[str, object]:
    kind = payload_type.encode()
    parts = [b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload]
    whole = b" ".join(parts)
    return {"comment": comment, "payload_type": payload_type, "payload_hex": payload.hex(), "pae_hex": whole.hex()}


PAE: Final = {
    "comment": "DSSE v1.0.2, protocol.md, Signature Definition: what is signed. Lengths count bytes, in decimal.",
    "accept": [
        _pae("the example of the DSSE document", "http://example.com/HelloWorld", b"hello world"),
        _pae("an empty payload", IN_TOTO, b""),
        _pae("an empty type", "", b"hello"),
        _pae("a type whose bytes are more than its characters", "application/vnd.é+json", "é".encode()),
        _pae("a payload that is no text, and holds spaces and a length of its own", IN_TOTO, b" 5 \x00\xff\n"),
        _pae("a length of three digits", IN_TOTO, bytes(100)),
    ],
}


def _json(comment: str, text: str) -> dict[str, object]:
    canonical = rfc8785.dumps(json.loads(text))
    return {
        "comment": comment,
        "input": text,
        "canonical": canonical.decode(),
        "sha256": hashlib.sha256(canonical).hexdigest(),
    }


def _not_json(comment: str, given: str | bytes, reason: str, pointer: str | None = None) -> dict[str, object]:
    where = {} if pointer is None else {"pointer": pointer}
    shown = {"input": given} if isinstance(given, str) else {"input_hex": given.hex()}
    return {"comment": comment, **shown, "code": "predicate.invalid", "reason": reason, **where}


CANONICAL_JSON: Final = {
    "comment": "RFC 8785 of one object. What two readers may read differently is refused (RFC 7493). input is text, "
    "input_hex its bytes where they are no text; pointer (RFC 6901) is there where the place is known.",
    "accept": [
        _json("an empty object", "{}"),
        _json("white space goes", ' { "b" : [ 1 , 2 ] ,\n\t"a" : null } '),
        _json(
            "keys by UTF-16 code units, not by code points (section 3.2.3)", '{"\\ufb33":1,"\\ud83d\\ude00":2,"a":3}'
        ),
        _json("the shortest escapes", '{"a":"\\u0041\\u000a\\u0008\\u001f\\/\\"\\\\\\u007f\\u20ac"}'),
        _json("an escaped key is its character", '{"\\u0062":1,"a":2}'),
        _json("numbers as ECMAScript writes them", '{"a":[1.0,1e1,1E+2,0.1e-6,1e21,-0.0,1.5]}'),
        _json("the smallest and the largest double", '{"a":[5e-324,1.7976931348623157e308]}'),
        _json("integers up to 2^53-1", f'{{"a":[{LARGEST},-{LARGEST}]}}'),
        _json("a key that stands in two objects", '{"a":{"x":1},"b":{"x":1}}'),
        _json("200 levels, the outermost counted", '{"a":' + "[" * 199 + "]" * 199 + "}"),
    ],
    "refuse": [
        _not_json("nothing", "", "not_json"),
        _not_json("half of it", '{"a":', "not_json"),
        _not_json("something behind it", "{} {}", "not_json"),
        _not_json("a comma too many", '{"a":1,}', "not_json"),
        _not_json("a number with a leading zero", '{"a":01}', "not_json"),
        _not_json("an array", "[]", "not_object"),
        _not_json("a string", '"a"', "not_object"),
        _not_json("a byte order mark", b"\xef\xbb\xbf{}", "byte_order_mark"),
        _not_json("bytes that are no UTF-8", b'{"a":"\xff"}', "not_utf8"),
        _not_json("a key twice", '{"a":1,"a":1}', "duplicate_key", "/a"),
        _not_json("a key twice, once escaped", '{"a":1,"\\u0061":2}', "duplicate_key", "/a"),
        _not_json("a key twice, further in", '{"x":[{},{"a/b":1,"a/b":2}]}', "duplicate_key", "/x/1/a~1b"),
        _not_json("201 levels", '{"a":' + "[" * 200 + "]" * 200 + "}", "too_deep"),
        _not_json("an integer beyond 2^53-1", f'{{"a":{LARGEST + 1}}}', "integer_range", "/a"),
        _not_json("a number that would be written as one", '{"a":1e20}', "integer_range", "/a"),
        _not_json("one below -(2^53-1)", f'{{"a":[0,-{LARGEST + 1}]}}', "integer_range", "/a/1"),
        _not_json("a number that no double holds", '{"a":1e400}', "not_finite", "/a"),
        _not_json("NaN, which is no JSON", '{"a":NaN}', "not_finite", "/a"),
        _not_json("half a surrogate pair", '{"a":"\\ud800"}', "lone_surrogate", "/a"),
    ],
}

_DIGEST: Final = hashlib.sha256(b"hello\n").hexdigest()
_OTHER: Final = hashlib.sha256(b"other\n").hexdigest()
_SHA512: Final = hashlib.sha512(b"hello\n").hexdigest()
_TYPE: Final = "https://example.org/predicate/v1"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"

Subject = dict[str, object]


def _subject(name: str = "hello.txt", **digests: str) -> Subject:
    return {"name": name, "digest": digests or {"sha256": _DIGEST}}


def _statement(comment: str, subjects: list[Subject], predicate: str = '{"ok":true}') -> dict[str, object]:
    value = {"_type": _STATEMENT, "subject": subjects, "predicateType": _TYPE, "predicate": json.loads(predicate)}
    whole = rfc8785.dumps(value)
    return {
        "comment": comment,
        "subjects": subjects,
        "predicate_type": _TYPE,
        "predicate": predicate,
        "statement": whole.decode(),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }


def _refused(comment: str, subjects: list[Subject], reason: str, pointer: str | None = None) -> dict[str, object]:
    where = {} if pointer is None else {"pointer": pointer}
    return {"comment": comment, "subjects": subjects, "code": "statement.invalid", "reason": reason, **where}


STATEMENTS: Final = {
    "comment": "in-toto Statement v1 as the payload that is signed: RFC 8785, subjects in the order given. refuse: "
    "subjects that no Statement of signerd may have.",
    "accept": [
        _statement("one subject", [_subject()]),
        _statement("the order of subjects is the caller's", [_subject("b"), _subject("a", sha256=_OTHER)]),
        _statement("several digests, sorted by name", [_subject("a", sha512=_SHA512, sha256=_DIGEST)]),
        _statement("a name with what JSON escapes and what it does not", [_subject('a"\\/é\U0001f600')]),
        _statement("a predicate that is brought into canonical form", [_subject()], '{ "b": 1.0, "a": [1e2] }'),
        _statement("an empty predicate", [_subject()], "{}"),
    ],
    "refuse": [
        _refused("no subject", [], "no_subject"),
        _refused("a subject without a name", [_subject("")], "name_empty", "/subject/0/name"),
        _refused("a line end in a name", [_subject("a\nb")], "name_control_character", "/subject/0/name"),
        _refused("text turned around in a name", [_subject("a\u202eb")], "name_control_character", "/subject/0/name"),
        _refused("no sha256", [_subject(sha512=_SHA512)], "digest_missing_sha256", "/subject/0/digest"),
        _refused(
            "an algorithm that is not allowed",
            [_subject(sha256=_DIGEST, md5="0" * 32)],
            "digest_unknown",
            "/subject/0/digest",
        ),
        _refused("upper case", [_subject(sha256=_DIGEST.upper())], "digest_malformed", "/subject/0/digest/sha256"),
        _refused("a digit too few", [_subject(sha256=_DIGEST[1:])], "digest_malformed", "/subject/0/digest/sha256"),
        _refused("two of one name", [_subject(), _subject(sha256=_OTHER)], "duplicate_name", "/subject/1/name"),
        _refused("two of one digest", [_subject("a"), _subject("b")], "duplicate_digest", "/subject/1/digest"),
    ],
}
