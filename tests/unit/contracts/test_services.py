import dataclasses

import msgspec
import pytest

from signerd.contracts.services import Charge, Leaf, Remaining

VALUES = [
    Charge("local", "default", 100.0, 200, 1_000_000, 64),
    Charge("local", "embedded", None, 1, None, 256),
    Remaining(255),
    Remaining(1, rate=2, daily=3),
    Leaf(b'{"v":1}', "01A", "decided", "local", 1),
]


@pytest.mark.parametrize("value", VALUES)
def test_values_are_frozen_and_come_back_from_another_process_as_they_went(value):
    kind = type(value)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        setattr(value, kind.__struct_fields__[0], None)
    assert hash(value) == hash(msgspec.structs.replace(value))


def test_no_limit_is_none_and_never_zero():
    assert (Remaining(0).rate, Remaining(0).daily) == (None, None)
    assert Remaining(0, rate=0) != Remaining(0)
