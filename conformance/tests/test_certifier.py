from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from signerd.errors import Refusal
from signerd_conformance.certifier import CertifierKey

PRIVATES = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA-PKCS1-SHA256": rsa.generate_private_key(65537, 2048),
}


def pem(path: Path, private: object, password: bytes = b"", form: PrivateFormat = PrivateFormat.PKCS8) -> Path:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(private.private_bytes(Encoding.PEM, form, hidden))  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize("algorithm", PRIVATES)
def test_what_any_key_signs_is_verified_by_its_public_half(algorithm: str, tmp_path: Path) -> None:
    key = CertifierKey.read(pem(tmp_path / "key", PRIVATES[algorithm]))
    assert key.public.algorithm == algorithm
    key.public.verify(key.sign(b"message"), b"message")


def test_an_encrypted_key_is_opened_with_a_file_or_at_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pem(tmp_path / "key", PRIVATES["ES256"], b"secret")
    (tmp_path / "password").write_bytes(b"secret\n")
    assert CertifierKey.read(file, tmp_path / "password").public == CertifierKey(PRIVATES["ES256"]).public
    monkeypatch.setattr("getpass.getpass", lambda prompt: "secret" if str(file) in prompt else "")
    CertifierKey.read(file)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "wrong")
    with pytest.raises(ValueError, match="the key cannot be opened"):
        CertifierKey.read(file)


def test_a_key_that_others_can_read_or_in_another_form_is_refused(tmp_path: Path) -> None:
    file = pem(tmp_path / "key", PRIVATES["ES256"])
    file.chmod(0o640)
    with pytest.raises(ValueError, match="closed to group and others"):
        CertifierKey.read(file)
    with pytest.raises(ValueError, match="PKCS#8"):
        CertifierKey.read(pem(tmp_path / "old", PRIVATES["ES256"], form=PrivateFormat.TraditionalOpenSSL))
    with pytest.raises(OSError, match="No such file"):
        CertifierKey.read(tmp_path / "absent")
    with pytest.raises(Refusal, match="key_type"):
        CertifierKey.read(pem(tmp_path / "dsa", dsa.generate_private_key(2048)))
    with pytest.raises(Refusal, match="rsa_size"):
        CertifierKey.read(pem(tmp_path / "short", rsa.generate_private_key(65537, 1024)))  # noqa: S505 -- that is refused
