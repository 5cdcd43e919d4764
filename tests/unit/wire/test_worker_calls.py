import msgspec
import pytest

from fakes.messages import check_strict, check_survives, structs, with_text
from signerd.wire import worker_calls

STRUCTS = structs(worker_calls)


@pytest.mark.parametrize("cls", STRUCTS)
def test_a_message_survives_the_link(cls: type[msgspec.Struct]) -> None:
    check_survives(cls)


@pytest.mark.parametrize("cls", list(filter(with_text, STRUCTS)))
def test_decoding_is_strict(cls: type[msgspec.Struct]) -> None:
    check_strict(cls)


def test_an_outcome_without_ok_is_not_one_with_an_empty_ok() -> None:
    decode = msgspec.msgpack.Decoder(worker_calls.CallOutcome).decode
    assert decode(msgspec.msgpack.encode({})).ok is msgspec.UNSET
    empty = decode(msgspec.msgpack.encode({"ok": None})).ok
    assert isinstance(empty, msgspec.Raw)
    assert bytes(empty) == b"\xc0"


def test_what_a_frame_holds_inline_fits_into_it() -> None:
    assert worker_calls.PAYLOAD_INLINE * 8 <= worker_calls.LINK_FRAME_BYTES
