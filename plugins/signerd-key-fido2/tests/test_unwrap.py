import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.errors import Fault
from signerd_key_fido2.unwrap import unwrapped, wrapped

SECRET, OTHER, ID = b"s" * 32, b"t" * 32, b"credential"


def refused(secret, credential_id, held):
    with pytest.raises(Fault) as caught:
        unwrapped(secret, credential_id, held)
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "unwrap_failed")


def test_the_secret_gives_the_key_back():
    held = wrapped(SECRET, ID, b"salt", verified=True)
    public = unwrapped(SECRET, ID, held).public_key()
    assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == held.spki
    assert (held.salt, held.verified) == (b"salt", True)


def test_another_secret_does_not():
    refused(OTHER, ID, wrapped(SECRET, ID, b"salt", verified=False))


def test_the_secret_of_another_credential_does_not():
    refused(SECRET, b"another", wrapped(SECRET, ID, b"salt", verified=False))


@pytest.mark.parametrize("part", ["spki", "nonce", "sealed"])
def test_a_file_that_was_changed_does_not(part):
    held = wrapped(SECRET, ID, b"salt", verified=False)
    changed = bytes([getattr(held, part)[0] ^ 1]) + getattr(held, part)[1:]
    refused(SECRET, ID, msgspec.structs.replace(held, **{part: changed}))


@pytest.mark.parametrize("nonce", [b"", b"short", b"n" * 500])
def test_a_nonce_of_another_length_does_not(nonce):
    refused(SECRET, ID, msgspec.structs.replace(wrapped(SECRET, ID, b"salt", verified=False), nonce=nonce))


def test_two_keys_under_one_secret_are_two():
    one, two = (wrapped(SECRET, ID, b"salt", verified=False) for _ in range(2))
    assert one.spki != two.spki
    assert one.nonce != two.nonce
