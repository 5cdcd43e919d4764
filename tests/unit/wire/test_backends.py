import msgspec

from signerd.wire.backends import BackendChanged, BackendState


def test_a_change_is_told_from_every_other_message_by_its_tag() -> None:
    changed = BackendChanged(BackendState("soft", "file", True))
    encoded = msgspec.msgpack.encode(changed)
    assert msgspec.msgpack.decode(encoded)["type"] == "backend_changed"
    assert msgspec.msgpack.decode(encoded, type=BackendChanged) == changed
