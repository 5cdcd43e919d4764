"""Requests as bytes that the load generator sends again and again, patched in place.

The id of a signerd request is written as a five-byte msgpack integer and a hexadecimal counter stands in
subject and predicate, so that no two requests are alike and nothing on the way can be answered from a cache.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

__all__ = [
    "COUNTER_DIGITS",
    "PREDICATE_TYPE",
    "Expectation",
    "Template",
    "agent_sign",
    "cyclonedx",
    "frame",
    "hello",
    "sign_batch",
    "sign_dsse",
    "sign_params",
]

PREDICATE_TYPE = "https://cyclonedx.org/bom"
COUNTER_DIGITS = 12
_COUNTER = "c0ffee000000"
_ID = 0x01000000
_ID_KEY = b"\xa2id\xce"
_SERIAL = f"urn:uuid:3e671687-395b-41f5-a30f-{_COUNTER}"
_LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause", "MPL-2.0")


@dataclass(frozen=True, slots=True)
class Expectation:
    """A success has `pattern` start `times` times in its first `within` bytes (0: anywhere)."""

    pattern: bytes
    within: int = 0
    times: int = 1

    def argument(self) -> str:
        """The form in which the load generator takes it."""
        return f"{self.pattern.hex()}:{self.within}:{self.times}"


@dataclass(frozen=True, slots=True)
class Template:
    """A whole request frame, where to patch it, and what marks a success."""

    request: bytes
    expectations: tuple[Expectation, ...]
    counters: tuple[int, ...]
    hello: bytes | None = None
    id_offset: int | None = None
    echo: bytes = b""
    greeting: bytes = b""
    signatures: int = 1


def frame(message: object) -> bytes:
    """A message of the wire protocol: u32 big-endian length and one msgpack map."""
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


def hello() -> bytes:
    """The client's first frame."""
    return frame({"type": "hello", "versions": [1], "software": "signerd-bench"})


def cyclonedx(size: int) -> bytes:
    """A valid CycloneDX 1.6 document of exactly `size` bytes (at least 1,024), of ordinary components."""
    head = (
        f'{{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"{_SERIAL}","version":1,'
        '"metadata":{"timestamp":"2026-01-01T00:00:00Z","component":{"type":"application",'
        '"bom-ref":"root","name":"artefact","version":"1.0.0"}},"components":['
    )
    tail = '],"properties":[{"name":"signerd:padding","value":"%s"}]}'
    room = size - len(head) - len(tail % "")
    parts: list[str] = []
    for component in _components():
        if len(component) + 1 > room:
            break
        parts.append(component)
        room -= len(component) + 1
    # The commas stand between components: one fewer than there are.
    text = head + ",".join(parts) + tail % ("x" * (room + 1 if parts else room))
    if len(text) != size:
        raise ValueError(f"no document of {size} bytes")
    return text.encode()


def _components() -> Iterator[str]:
    number = 0
    while True:
        component = {
            "type": "library",
            "bom-ref": f"pkg:pypi/component-{number}@1.{number % 97}.0",
            "name": f"component-{number}",
            "version": f"1.{number % 97}.0",
            "purl": f"pkg:pypi/component-{number}@1.{number % 97}.0",
            "hashes": [{"alg": "SHA-256", "content": f"{number:064x}"}],
            "licenses": [{"license": {"id": _LICENCES[number % len(_LICENCES)]}}],
        }
        yield json.dumps(component, separators=(",", ":"))
        number += 1


def sign_params(predicate: object, release: str, subject: int = 0) -> dict[str, object]:
    """The params of `sign.dsse` for one subject whose digest carries the counter."""
    digest = f"{subject:052x}{_COUNTER}"
    return {
        "subject": [{"name": f"artefact-{subject}", "digest": {"sha256": digest}}],
        "predicate_type": PREDICATE_TYPE,
        "predicate": predicate,
        "scanner_image_digest": release,
    }


def sign_dsse(size: int, release: str, *keys: str) -> Template:
    """One Statement of `size` bytes about a CycloneDX document, signed with `keys` or the default key."""
    params = sign_params(cyclonedx(_document_size(size, release)), release)
    if keys:
        params["options"] = {"keys": keys}
    return _signerd("sign.dsse", params, 1)


def sign_batch(items: int, size: int, release: str) -> Template:
    """`items` Statements in one `sign.batch`, each as :func:`sign_dsse`'s with a subject of its own."""
    document = cyclonedx(_document_size(size, release))
    return _signerd("sign.batch", {"items": [sign_params(document, release, i) for i in range(items)]}, items)


def _document_size(payload: int, release: str) -> int:
    """How large a document makes a Statement of `payload` bytes: RFC 8785 only reorders its keys."""
    params = sign_params(b"", release)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": params["subject"],
        "predicateType": PREDICATE_TYPE,
        "predicate": {},
    }
    return payload - len(json.dumps(statement, separators=(",", ":"))) + len("{}")


def _signerd(method: str, params: dict[str, object], signatures: int) -> Template:
    request = frame({"type": "request", "id": _ID, "method": method, "params": params})
    id_offset = request.index(_ID_KEY + struct.pack(">I", _ID)) + len(_ID_KEY)
    return Template(
        request=request,
        # A receipt, and in it this key, comes with every signature and with nothing else.
        expectations=(
            Expectation(b"\xa4type\xa8response", within=64),
            Expectation(b"\xa9leaf_hash", times=signatures),
        ),
        counters=tuple(_offsets(request, _COUNTER.encode())),
        hello=hello(),
        id_offset=id_offset,
        echo=_ID_KEY,
        greeting=b"\xa4type\xa5hello",
        signatures=signatures,
    )


def agent_sign(key_blob: bytes, size: int) -> Template:
    """SSH2_AGENTC_SIGN_REQUEST (RFC 9987) for an ECDSA P-256 key over `size` bytes."""
    data = (_COUNTER * (size // COUNTER_DIGITS + 1))[:size].encode()
    body = b"\x0d" + _ssh_string(key_blob) + _ssh_string(data) + struct.pack(">I", 0)
    request = struct.pack(">I", len(body)) + body
    return Template(
        request=request,
        expectations=(
            Expectation(b"\x0e", within=1),
            Expectation(_ssh_string(b"ecdsa-sha2-nistp256"), within=16),
        ),
        counters=(request.index(data),),
    )


def _ssh_string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _offsets(data: bytes, pattern: bytes) -> Iterator[int]:
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + len(pattern))
