"""Whatever bytes a peer sends: events or RemoteProtocolError, params or Refusal, and nothing else.

The inputs are honest conversations with something wrong in them, so that they get past the first byte.
"""

from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from signerd.errors import Refusal
from signerd.wire.connection import (
    NEED_DATA,
    PAUSED,
    Connection,
    ConnectionClosed,
    Rejected,
    RemoteProtocolError,
    Role,
)
from signerd.wire.messages import Hello, Limits, Request
from signerd.wire.methods import METHODS, SignBatch, decode_items, decode_params, decode_result

CODES = (None, "request.malformed", "request.unsupported", "request.too_large")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from(["hello", "request", "cancel", "sign.dsse", "file:default", "cosign", "sha256"])
)
KEYS = (
    "type id method params deadline_ms versions software nonce subject name digest fd size",
    "predicate_type predicate options keys include items filters limit key policy poe scanner_image_digest",
)
NAMES = st.text(max_size=4) | st.sampled_from(" ".join(KEYS).split())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)
SIGN: dict[str, Any] = {
    "subject": [{"name": "a", "digest": {"sha256": "00"}}, {"name": "b", "fd": 1, "size": 2}],
    "predicate_type": "sbom",
    "predicate": {"fd": 0, "size": 2},
    "options": {"keys": ["file:default"], "include": ["envelope"]},
}
MAPS = st.dictionaries(NAMES, VALUES, max_size=6) | st.builds(
    lambda name, value: {**SIGN, name: value}, NAMES, VALUES
)
HELLO: dict[str, Any] = {"type": "hello", "versions": [1], "software": "c"}
REQUEST: dict[str, Any] = {"type": "request", "id": 1, "method": "sign.dsse", "params": SIGN}
MESSAGES = st.one_of(
    st.builds(
        lambda base, name, value: {**base, name: value}, st.sampled_from([HELLO, REQUEST]), NAMES, VALUES
    ),
    st.builds(lambda number: {"type": "cancel", "id": number}, st.integers(0, 5)),
    st.builds(lambda number: {**REQUEST, "id": number}, st.integers(0, 5)),
    VALUES,
)
SERVER_HELLO = Hello(
    (1,), "s", version=1, limits=Limits(*[1] * 9), methods=(), profiles=(), nonce=b"n" * 16
)  # fmt: skip


def framed(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return len(body).to_bytes(4, "big") + body


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A conversation, mostly with its hello, in which bytes may be changed, put in or cut off."""
    messages = draw(st.lists(MESSAGES, max_size=5))
    stream = bytearray(framed(HELLO) if draw(st.integers(0, 9)) else b"")
    for message in messages:
        stream += framed(message)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(stream)


def conversation(reads: list[tuple[bytes, tuple[int, ...]]]) -> tuple[list[str], list[int]]:
    """What a server makes of the reads, and every descriptor that it hands out, in order."""
    server, seen, given_out = Connection(Role.SERVER, limit=4096), [], list[int]()
    for data, fds in reads:
        try:
            server.receive_data(data, fds)
            while (event := server.next_event()) is not NEED_DATA:
                if event is PAUSED:
                    server.send(SERVER_HELLO)
                    continue
                taken = server.take_descriptors()
                given_out += taken
                seen.append(
                    f"{event!r} {taken}" if not isinstance(event, Request) else f"request {event.id} {taken}"
                )
                if isinstance(event, Rejected):
                    server.send(event.error)
                if isinstance(event, ConnectionClosed):
                    break
        except RemoteProtocolError as exc:
            server.send(exc.error)
            return [*seen, f"{exc.code} {exc.reason}"], given_out + list(server.abandon())
        assert server.buffered <= 4096 + 4 + len(data)
    return seen, given_out + list(server.abandon())


@given(streams())
@settings(max_examples=400)
def test_any_stream_gives_events_or_a_remote_protocol_error_whole_and_byte_by_byte(stream: bytes) -> None:
    half = len(stream) // 2
    reads = [(part, (number,)) for number, part in enumerate((stream[:half], stream[half:])) if part]
    single = [
        (part[at : at + 1], fds if at == len(part) - 1 else ())
        for part, fds in reads
        for at in range(len(part))
    ]
    whole, given_out = conversation([*reads, (b"", ())])
    bytewise, _ = conversation([*single, (b"", ())])
    assert whole == bytewise
    assert len(set(given_out)) == len(given_out)


def refused(call: Callable[[], object]) -> str | None:
    """The code with which a call is refused; None where it is not."""
    try:
        call()
    except Refusal as refusal:
        return refusal.code
    return None


def use(method: str, raw: Raw) -> None:
    """Decode params as the daemon does, those of a batch item by item."""
    params = decode_params(method, raw)
    if isinstance(params, SignBatch):
        assert len(decode_items(params)) == len(params.items)


@given(st.sampled_from(sorted(METHODS)), MAPS.map(msgpack.packb) | st.binary(max_size=40))
@settings(max_examples=400)
def test_any_params_are_decoded_or_refused(method: str, raw: bytes) -> None:
    assert refused(lambda: use(method, Raw(raw))) in CODES


@given(st.sampled_from(sorted(METHODS)), MAPS.map(msgpack.packb) | st.binary(max_size=40))
def test_any_result_is_decoded_or_refused(method: str, raw: bytes) -> None:
    assert refused(lambda: decode_result(method, Raw(raw))) in CODES
