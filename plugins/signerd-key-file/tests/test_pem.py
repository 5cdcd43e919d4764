import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import SignerdError
from signerd_key_file.pem import decode, encode

KEY = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())


def error(text: bytes, password: bytes | None = None) -> str:
    with pytest.raises(SignerdError) as caught:
        decode(text, lambda: password)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.mark.parametrize("password", [None, b"a", "pässword with späce".encode()])
def test_what_is_encoded_is_decoded(password: bytes | None) -> None:
    again = decode(encode(KEY, password), lambda: password)
    assert isinstance(again, ed25519.Ed25519PrivateKey)
    assert again.private_bytes_raw() == KEY.private_bytes_raw()


def test_the_password_is_asked_for_an_encrypted_key_only() -> None:
    def never() -> bytes:
        raise AssertionError("asked")

    decode(encode(KEY, None), never)
    with pytest.raises(AssertionError):
        decode(encode(KEY, b"x"), never)


def test_other_formats_are_refused() -> None:
    plain = encode(KEY, None)
    others = [
        b"",
        b"\n",
        plain + plain,
        b"# comment\n" + plain,
        plain[:60],
        plain.replace(b"M", b"!", 1),
        EC.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        EC.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ]
    for text in others:
        assert error(text) == "key.backend_fault file_format", text


@given(st.binary(max_size=200), st.sampled_from([b"", b"-----BEGIN PRIVATE KEY-----\n"]))
def test_any_bytes_are_a_key_or_a_typed_error(data: bytes, head: bytes) -> None:
    assert error(head + data).startswith("key.")


@given(st.integers(0, len(encode(EC, None)) - 1), st.integers(1, 255))
def test_a_damaged_key_never_crashes(place: int, flip: int) -> None:
    text = bytearray(encode(EC, None))
    text[place] ^= flip
    try:
        decode(bytes(text), lambda: None)
    except SignerdError as exc:
        assert exc.code.startswith("key.")  # noqa: PT017  # either outcome is right, another exception is not
