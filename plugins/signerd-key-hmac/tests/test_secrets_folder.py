import os
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_hmac.secrets_folder import NEW_BYTES, SecretKeys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir(mode=0o700)
    return made


def put(folder: Path, name: str, secret: bytes) -> Path:
    file = folder / name
    file.write_bytes(secret)
    file.chmod(0o600)
    return file


def error(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(SignerdError) as caught:
        function(*args)
    assert "/" not in caught.value.public
    return f"{caught.value.code} {caught.value.reason}"


def test_the_file_says_which_algorithm_the_secret_is_for(folder: Path) -> None:
    secrets = SecretKeys(str(folder))
    put(folder, "a.hmac-sha512", bytes(64))
    put(folder, "b.v2.hmac-gost3411-2012-256", bytes(32))
    assert secrets.find("a") == ("HMAC-SHA512", bytes(64))
    assert secrets.find("b.v2") == ("HMAC-GOST3411-2012-256", bytes(32))
    assert error(secrets.find, "b") == "key.not_found no_such_key"
    put(folder, "a.hmac-sha256", bytes(32))
    assert error(secrets.find, "a") == "key.backend_fault two_algorithms"


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("hmac-sha256", {31: False, 32: True, 128: True}),
        ("hmac-sha384", {47: False, 48: True}),
        ("hmac-sha512", {63: False, 64: True, 128: True}),
        ("hmac-gost3411-2012-512", {31: False, 32: True, 64: True, 65: False}),
        ("hmac-sm3", {0: False, 32: True, 128: True}),
    ],
)
def test_a_secret_has_the_length_that_its_algorithm_asks_for(
    folder: Path, name: str, lengths: dict[int, bool]
) -> None:
    secrets = SecretKeys(str(folder))
    for length, fits in lengths.items():
        put(folder, f"k{length}.{name}", bytes(length))
        if fits:
            assert secrets.find(f"k{length}")[1] == bytes(length)
        else:
            assert error(secrets.find, f"k{length}") == "key.backend_fault secret_length"


def test_a_file_that_is_longer_or_open_to_others_is_refused(folder: Path) -> None:
    secrets = SecretKeys(str(folder))
    file = put(folder, "a.hmac-sha256", bytes(129))
    assert error(secrets.find, "a") == "key.backend_fault file_size"
    put(folder, "a.hmac-sha256", bytes(32))
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        assert error(secrets.find, "a") == "key.backend_fault file_mode"
    file.unlink()
    file.symlink_to(put(folder, "b.hmac-sha256", bytes(32)))
    assert error(secrets.find, "a") == "key.backend_fault file_symlink"
    file.unlink()
    os.mkfifo(file, 0o600)
    assert error(secrets.find, "a") == "key.backend_fault file_type"
    folder.chmod(0o770)
    assert error(secrets.find, "b") == "key.backend_fault directory_mode"


def test_a_new_secret_is_random_closed_and_overwrites_nothing(folder: Path) -> None:
    secrets = SecretKeys(str(folder / "new"))
    assert error(secrets.find, "a") == "key.not_found no_such_key"
    secrets.create("a", "HMAC-SM3")
    secrets.create("b", "HMAC-SM3")
    (_, first), (_, second) = secrets.find("a"), secrets.find("b")
    assert first != second
    assert len(first) == NEW_BYTES
    assert (folder / "new" / "a.hmac-sm3").stat().st_mode & 0o7777 == 0o600
    for algorithm in ("HMAC-SM3", "HMAC-SHA256"):
        assert error(secrets.create, "a", algorithm) == "key.forbidden exists"
    assert error(secrets.create, "c", "HMAC-MD5") == "key.algorithm_refused unknown_algorithm"
    assert secrets.find("a") == ("HMAC-SM3", first)
