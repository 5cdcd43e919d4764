import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from signerd.contracts.providers import Generator, KeyBackend
from signerd.errors import SignerdError
from signerd.verification.keys import PublicKey
from signerd_key_file.backend import FileBackend, signerd_key_backends

ALGORITHMS = ["ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256"]
MESSAGE = b"DSSEv1 \xc3\xa9 message of no special length"
SHORT = 1024
OPENSSL = shutil.which("openssl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    made.mkdir(mode=0o700)
    return made


def backend(folder: Path, **more: object) -> FileBackend:
    return FileBackend({"directory": str(folder), **more})


def private_file(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(key: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def signed(made: FileBackend, key: str, message: bytes = MESSAGE) -> bytes:
    """Sign as the sealer does: the digest where describe says so."""
    description = made.describe(key)
    result = made.sign(key, hashlib.sha256(message).digest() if description.prehash == "sha256" else message)
    assert result.keyid == description.keyid
    return result.signature


def error(made: FileBackend, key: str) -> str:
    with pytest.raises(SignerdError) as caught:
        made.describe(key)
    assert "/" not in caught.value.public
    assert caught.value.code.startswith("key.")
    return f"{caught.value.code} {caught.value.reason}"


def test_it_fulfils_the_contracts_that_it_declares(folder: Path) -> None:
    made = signerd_key_backends({"directory": str(folder)})
    assert isinstance(made, KeyBackend)
    assert isinstance(made, Generator)
    assert made.capabilities == ("generate", "rotate")
    assert FileBackend({"keys": {"a": {"path": "/x"}}}).capabilities == ()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_signs_what_verifies_the_same_each_time(folder: Path, algorithm: str) -> None:
    made = backend(folder)
    description = made.generate("file:k", algorithm)
    key = PublicKey.from_spki(description.spki)
    assert (key.algorithm, key.keyid) == (algorithm, description.keyid) == (description.algorithm, key.keyid)
    assert description.prehash == ("sha256" if algorithm in ("ES256", "RSA-PKCS1-SHA256") else None)
    signature = signed(made, "file:k")
    key.verify(signature, MESSAGE)
    assert signed(backend(folder), "file:k") == signature, "read anew from disk; RFC 6979, RFC 8032, RFC 8017"
    with pytest.raises(SignerdError):
        key.verify(signature, MESSAGE + b".")


def test_the_signature_of_a_digest_is_that_of_the_message_with_the_nonce_of_rfc_6979(folder: Path) -> None:
    made = backend(folder)
    key = ec.derive_private_key(
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
    )  # RFC 6979, A.2.5
    private_file(folder / "rfc.pem", pem(key))
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(signed(made, "file:rfc", b"sample"))
    assert r == 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    assert s == 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


@pytest.mark.skipif(OPENSSL is None, reason="openssl(1) is not installed")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("password", [None, b"correct horse"])
def test_openssl_reads_the_key_and_verifies_the_signature(
    folder: Path, tmp_path: Path, algorithm: str, password: bytes | None
) -> None:
    more: dict[str, object] = {}
    if password:
        more["password_file"] = str(private_file(tmp_path / "password", password + b"\n"))
    made = backend(folder, **more)
    made.generate("file:k", algorithm)
    (tmp_path / "m").write_bytes(MESSAGE)
    (tmp_path / "s").write_bytes(signed(made, "file:k"))
    reading = ["openssl", "pkey", "-in", str(folder / "k.pem"), "-pubout", "-out", str(tmp_path / "p")]
    subprocess.run(
        [*reading, "-passin", f"pass:{(password or b'').decode()}"], check=True, capture_output=True
    )
    head = (folder / "k.pem").read_bytes().splitlines()[0]
    assert (b"ENCRYPTED" in head) == bool(password)
    if algorithm == "Ed25519":
        command = [
            "openssl",
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "p",
            "-rawin",
            "-in",
            "m",
            "-sigfile",
            "s",
        ]
    else:
        digest = {"ES384": "-sha384", "ES512": "-sha512"}.get(algorithm, "-sha256")
        command = ["openssl", "dgst", digest, "-verify", "p", "-signature", "s", "m"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (tmp_path / "m").write_bytes(MESSAGE + b"!")
    assert subprocess.run(command, check=False, capture_output=True, cwd=tmp_path).returncode != 0


def test_a_generated_key_is_closed_to_others_and_nothing_else_is_left(folder: Path) -> None:
    old = os.umask(0)
    try:
        backend(folder).generate("file:default", "")
    finally:
        os.umask(old)
    assert [entry.name for entry in folder.iterdir()] == ["default.pem"]
    assert (folder / "default.pem").stat().st_mode & 0o7777 == 0o600
    assert backend(folder).describe("file:default").algorithm == "ES256"


def test_no_key_is_ever_overwritten(folder: Path, tmp_path: Path) -> None:
    made = backend(folder, keys={"placed": {"path": str(tmp_path / "placed.pem")}})
    first = made.generate("file:default", "ES256")
    for name, reason in (("default", "exists"), ("placed", "not_generated_here")):
        with pytest.raises(SignerdError) as caught:
            made.generate(f"file:{name}", "ES256")
        assert (caught.value.code, caught.value.reason) == ("key.forbidden", reason)
    assert backend(folder).describe("file:default") == first
    assert [entry.name for entry in folder.iterdir()] == ["default.pem"]
    with pytest.raises(SignerdError) as caught:
        FileBackend({"keys": {"a": {"path": "/x"}}}).generate("file:b", "ES256")
    assert caught.value.reason == "not_generated_here"


def test_a_rotated_key_stays_beside_the_new_one_which_has_a_free_name(folder: Path, tmp_path: Path) -> None:
    made = backend(folder, keys={"default.v3": {"path": str(tmp_path / "placed.pem")}})
    first = made.generate("file:default", "Ed25519")
    second = made.rotate("file:default", "")
    assert (second.key, second.description.algorithm) == ("file:default.v2", "Ed25519")
    third = made.rotate(second.key, "ES256")
    assert (third.key, third.description.algorithm) == ("file:default.v4", "ES256")
    later = backend(folder)
    assert [later.describe(key).keyid for key in ("file:default", second.key, third.key)] == [
        first.keyid,
        second.description.keyid,
        third.description.keyid,
    ]
    made.generate("file:" + "n" * 60, "ES256")
    for key, reason in (("file:nobody", "no_such_key"), ("file:" + "n" * 60, "no_free_name")):
        with pytest.raises(SignerdError) as caught:
            made.rotate(key, "ES256")
        assert caught.value.reason == reason


@pytest.mark.parametrize("algorithm", ["RS256", "es256", "RSA", "ED25519", "ML-DSA-65"])
def test_an_algorithm_that_it_lacks_is_refused_and_no_file_made(folder: Path, algorithm: str) -> None:
    with pytest.raises(SignerdError) as caught:
        backend(folder).generate("file:k", algorithm)
    assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "unknown_algorithm")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "key",
    [
        "file:nobody",
        "file:",
        "nobody",
        "pkcs11:x",
        "file:../keys/k",
        "file:/etc/x",
        "file:.hidden",
        "file:a\0b",
        "file:" + "a" * 65,
    ],
)
def test_a_reference_to_nothing_or_out_of_the_folder_is_not_found(folder: Path, key: str) -> None:
    backend(folder).generate("file:k", "ES256")
    assert error(backend(folder), key) in ("key.not_found no_such_key", "key.not_found reference")
    with pytest.raises(SignerdError):
        backend(folder).generate(key if key != "file:nobody" else "file:", "ES256")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (lambda: rsa.generate_private_key(65537, SHORT), "key.algorithm_refused rsa_size"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "key.algorithm_refused curve"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "key.algorithm_refused curve"),
        (ed448.Ed448PrivateKey.generate, "key.algorithm_refused key_type"),
        (lambda: dsa.generate_private_key(2048), "key.algorithm_refused key_type"),
    ],
)
def test_keys_that_signerd_does_not_sign_with_are_refused(folder: Path, key: object, expected: str) -> None:
    assert callable(key)
    private_file(folder / "k.pem", pem(key()))
    assert error(backend(folder), "file:k") == expected


def test_passwords_wrong_missing_and_right(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_file(folder / "k.pem", pem(ec.generate_private_key(ec.SECP256R1()), b"right"))
    assert error(backend(folder), "file:k") == "key.backend_fault password_missing"
    password = private_file(tmp_path / "password", b"wrong\n")
    assert error(backend(folder, password_file=str(password)), "file:k") == "key.backend_fault password_wrong"
    private_file(password, b"\n")
    assert (
        error(backend(folder, password_file=str(password)), "file:k") == "key.backend_fault password_format"
    )
    with pytest.raises(SignerdError, match="1 to 1024 bytes"):
        backend(folder, password_file=str(password)).generate("file:clear", "")
    assert not (folder / "clear.pem").exists(), "an empty password would have encrypted nothing"
    private_file(password, b"right\n")
    assert backend(folder, password_file=str(password)).describe("file:k").algorithm == "ES256"
    password.chmod(0o640)
    assert error(backend(folder, password_file=str(password)), "file:k") == "key.backend_fault file_mode"
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    private_file(credentials / "key-password", b"right", 0o400)
    made = backend(folder, password_credential="key-password")
    assert error(made, "file:k") == "key.backend_fault no_credentials"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert made.describe("file:k").algorithm == "ES256"


def test_an_unencrypted_key_needs_no_password_even_where_one_is_configured(folder: Path) -> None:
    private_file(folder / "k.pem", pem(ec.generate_private_key(ec.SECP256R1())))
    assert backend(folder, password_file="/nonexistent").describe("file:k").algorithm == "ES256"


def test_a_key_may_lie_elsewhere_or_be_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = pem(ec.generate_private_key(ec.SECP384R1()))
    path = private_file(tmp_path / "elsewhere", key)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    private_file(tmp_path / "cred", key, 0o440)  # as systemd's access list shows
    made = FileBackend(
        {"keys": {"a": {"path": str(path)}, "b": {"credential": "cred"}, "c": {"path": str(tmp_path / "no")}}}
    )
    assert made.describe("file:a") == made.describe("file:b")
    assert error(made, "file:c") == "key.not_found no_such_key"
    assert error(made, "file:d") == "key.not_found no_such_key"


def test_a_digest_of_another_length_is_refused(folder: Path) -> None:
    made = backend(folder)
    made.generate("file:k", "ES256")
    for message in (b"", bytes(31), bytes(33), b"the message itself"):
        with pytest.raises(SignerdError) as caught:
            made.sign("file:k", message)
        assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "digest_length")


def test_a_key_in_memory_goes_on_signing_when_its_file_is_gone(folder: Path) -> None:
    made = backend(folder)
    made.generate("file:k", "ES256")
    (folder / "k.pem").unlink()
    assert made.sign("file:k", bytes(32)).signature
