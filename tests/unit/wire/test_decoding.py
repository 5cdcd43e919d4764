import time
import tracemalloc

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from msgspec import UNSET, Raw, UnsetType

from signerd.errors import Refusal
from signerd.wire.decoding import KEYS_MAX, check_keys, decode_strict
from signerd.wire.methods import decode_params


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    size: int | UnsetType = UNSET


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inner: Inner | UnsetType = UNSET
    many: tuple[Inner, ...] | UnsetType = UNSET
    digest: dict[str, str] | UnsetType = UNSET
    opaque: Raw | UnsetType = UNSET


class Open(msgspec.Struct, frozen=True):
    name: str


OUTER: msgspec.msgpack.Decoder[Outer] = msgspec.msgpack.Decoder(Outer)
OPEN: msgspec.msgpack.Decoder[Open] = msgspec.msgpack.Decoder(Open)


def map_of(*pairs: tuple[bytes, bytes]) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(key + value for key, value in pairs)


def text(value: str) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


INNER_TWICE = map_of((text("name"), text("a")), (text("name"), text("b")))


@pytest.mark.parametrize(
    "raw",
    [
        map_of(
            (text("inner"), map_of((text("name"), text("a")))),
            (text("inner"), map_of((text("name"), text("a")))),
        ),
        map_of((text("inner"), INNER_TWICE)),
        map_of((text("many"), b"\x92" + map_of((text("name"), text("a"))) + INNER_TWICE)),
        map_of((text("digest"), map_of((text("sha256"), text("a")), (text("sha256"), text("b"))))),
        b"\xde\x00\x02" + (text("digest") + b"\x80") * 2,
        b"\xdf\x00\x00\x00\x02" + (text("digest") + b"\x80") * 2,
        map_of(*[(text("digest"), b"\x80")] * 5),
    ],
)
def test_a_key_that_comes_twice_is_refused_at_any_depth(raw: bytes) -> None:
    with pytest.raises(Refusal, match="repeated_key"):
        decode_strict(OUTER, Raw(raw))
    assert isinstance(decode_strict(OUTER, Raw(raw), unique_keys=False), Outer)


def test_the_same_key_written_in_two_ways_is_still_the_same() -> None:
    with pytest.raises(Refusal, match="repeated_key"):
        decode_strict(OUTER, Raw(map_of((text("digest"), b"\x80"), (b"\xd9\x06digest", b"\x80"))))


@pytest.mark.parametrize(
    "raw",
    [
        b"\xde\x00\x01" + text("digest") + b"\x80",
        b"\xdf\x00\x00\x00\x01" + b"\xda\x00\x06digest" + b"\xde\x00\x00",
        map_of(
            (
                text("many"),
                b"\xdc\x00\x01" + map_of((text("name"), text("a")), (text("size"), b"\xcf" + bytes(8))),
            )
        ),
        map_of((text("opaque"), INNER_TWICE), (text("digest"), b"\xde\x00\x00")),
    ],
)
def test_a_longer_form_is_not_refused_nor_what_stays_undecoded(raw: bytes) -> None:
    assert decode_strict(OUTER, Raw(raw)) == OUTER.decode(raw)


def test_keys_to_be_ignored_are_few() -> None:
    grease = {f"k{index}": 0 for index in range(KEYS_MAX - 1)}
    packed = msgpack.packb({"name": "a", **grease})
    check_keys(OPEN.decode(packed), packed)
    flood = msgpack.packb({"name": "a", "one": 1, **grease})
    with pytest.raises(Refusal, match="too_many_keys"):
        check_keys(OPEN.decode(flood), flood)


def test_looking_for_repeated_keys_is_cheap_whatever_is_ignored() -> None:
    flood = (
        b"\x82"
        + text("name")
        + text("a")
        + text("grease")
        + b"\xdd"
        + (1 << 20).to_bytes(4, "big")
        + b"\xc0" * (1 << 20)
    )
    value = OPEN.decode(flood)
    tracemalloc.start()
    try:
        started = time.perf_counter()
        check_keys(value, flood)
        assert time.perf_counter() - started < 0.5
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a` - at `$.x", "' - at `key` in `$", "\n", "`", "$", "é" * 100])
def test_a_hostile_name_changes_no_code(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode_params("daemon.info", Raw(msgpack.packb({name: 1})))
    assert caught.value.code in ("request.unsupported", "request.malformed")
    assert all(len(str(value)) <= 64 for value in caught.value.details.values())
