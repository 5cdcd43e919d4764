import pytest

from signerd.errors import SignerdError
from signerd.secret_files.pkcs8 import password_for

PLAIN = b"-----BEGIN PRIVATE KEY-----\n"
ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"


def never() -> bytes:
    raise AssertionError("asked")


def reason(text: bytes) -> str:
    with pytest.raises(SignerdError) as caught:
        password_for(text, lambda: None)
    assert caught.value.code == "key.backend_fault"
    return caught.value.reason


def test_a_password_is_asked_for_an_encrypted_key_alone() -> None:
    assert password_for(b"\n" + PLAIN, never) is None
    assert password_for(ENCRYPTED, lambda: b"secret") == b"secret"
    assert reason(ENCRYPTED) == "password_missing"


@pytest.mark.parametrize("text", [b"", b"# key\n" + PLAIN, PLAIN + PLAIN, b"-----BEGIN EC PRIVATE KEY-----\n"])
def test_what_is_not_one_key_of_pkcs8(text: bytes) -> None:
    assert reason(text) == "file_format"
