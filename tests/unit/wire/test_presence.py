import msgspec

from signerd.wire.presence import PresenceFacts


def test_every_field_is_always_there():
    facts = PresenceFacts("a", "00" * 32, 0, "fido2:alice", "sha256:k")
    assert sorted(msgspec.json.decode(msgspec.json.encode(facts))) == [
        "approval_id",
        "assertion_sha256",
        "counter",
        "key",
        "keyid",
    ]
