import os
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd.secret_files.key_files import LARGEST_KEY_FILE, KeyFolder, read_key_file, read_password

NOBODY = 65534


def error(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(SignerdError) as caught:
        function(*args)
    assert "/" not in caught.value.public
    return f"{caught.value.code} {caught.value.reason}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    return path


def test_what_is_wrong_with_a_file_is_told_by_its_reason(file: Path, tmp_path: Path) -> None:
    assert read_key_file(str(file)) == b"secret"
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(file)
    os.mkfifo(fifo, 0o600)
    assert error(read_key_file, str(link)) == "key.backend_fault file_symlink"
    assert error(read_key_file, str(fifo)) == "key.backend_fault file_type"
    assert error(read_key_file, str(tmp_path / "no")) == "key.not_found no_such_key"
    assert error(read_key_file, str(file / "below")) == "key.backend_fault file_unreadable"
    file.chmod(0o640)
    assert error(read_key_file, str(file)) == "key.backend_fault file_mode"
    file.write_bytes(bytes(LARGEST_KEY_FILE + 1))
    file.chmod(0o600)
    assert error(read_key_file, str(file)) == "key.backend_fault file_size"


def test_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert error(read_key_file, "key") == "key.backend_fault no_credentials"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert error(read_key_file, "key") == "key.not_found no_such_key"
    (tmp_path / "key").write_bytes(b"secret")
    (tmp_path / "key").chmod(0o440)
    assert read_key_file("key") == b"secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_or_folder_of_another_user_is_refused(file: Path, tmp_path: Path) -> None:
    os.chown(file, NOBODY, -1)
    assert error(read_key_file, str(file)) == "key.backend_fault file_owner"
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, -1)
    assert error(KeyFolder(str(folder)).read, "k.pem") == "key.backend_fault directory_owner"


def test_a_folder_that_is_unfit(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o770)
    assert error(KeyFolder(str(folder)).read, "k.pem") == "key.backend_fault directory_mode"
    assert error(KeyFolder(str(file)).create, "k.pem", b"x") == "key.backend_fault directory_unreadable"
    assert error(KeyFolder(str(tmp_path / "no" / "such")).create, "k", b"x") == "key.backend_fault directory_unwritable"


def test_a_key_is_made_once(tmp_path: Path) -> None:
    keys = KeyFolder(str(tmp_path / "new"))
    assert error(keys.read, "k.pem") == "key.not_found no_such_key"
    keys.create("k.pem", b"first")
    assert error(keys.create, "k.pem", b"second") == "key.forbidden exists"
    assert keys.read("k.pem") == b"first"


def test_a_password_is_one(file: Path) -> None:
    assert read_password(None) is None
    file.write_bytes(b"secret\n\n")
    assert read_password(str(file)) == b"secret\n"
    for wrong in (b"", b"\n", b"a\0b", b"a" * 1025):
        file.write_bytes(wrong)
        assert error(read_password, str(file)) == "key.backend_fault password_format"
    assert error(read_password, str(file.parent / "no")) == "key.not_found no_such_key"
