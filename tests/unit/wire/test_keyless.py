import msgspec

from signerd.wire.keyless import IdentityToken, Keyless


def test_a_token_crosses_and_is_shown_nowhere() -> None:
    token = IdentityToken("a.secret.token", "https://issuer", ("me",))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(token), type=IdentityToken) == token
    assert "secret" not in f"{token!r} {token!s} {[token]!r}"


def test_a_certificate_s_facts_cross() -> None:
    facts = Keyless((b"leaf", b"root"), b"spki", "https://issuer", "me", 1, 2)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(facts), type=Keyless) == facts
