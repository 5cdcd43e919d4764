import os
import subprocess
import sys
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_file.files import KeyFolder, read_credential, read_private

NOBODY = 65534


def error(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(SignerdError) as caught:
        function(*args)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    return path


def test_a_closed_regular_file_is_read(file: Path) -> None:
    assert read_private(str(file)) == b"secret"
    file.chmod(0o400)
    assert read_private(str(file)) == b"secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
def test_one_that_others_may_touch_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert error(read_private, str(file)) == "key.backend_fault file_mode"


def test_other_kinds_of_files_are_refused_without_waiting(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert error(read_private, str(link)) == "key.backend_fault file_symlink"
    assert error(read_private, str(fifo)) == "key.backend_fault file_type"
    assert error(read_private, str(tmp_path)) == "key.backend_fault file_type"
    assert error(read_private, os.devnull) == "key.backend_fault file_type"
    assert error(read_private, str(tmp_path / "no")) == "key.not_found no_such_key"
    assert error(read_private, str(file / "below")) == "key.backend_fault file_unreadable"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "no")
    assert error(read_private, str(dangling)) == "key.backend_fault file_symlink"


def test_a_file_that_is_far_too_long_is_refused(file: Path) -> None:
    file.write_bytes(bytes(65 * 1024))
    assert error(read_private, str(file)) == "key.backend_fault file_size"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_or_folder_of_another_user_is_refused(file: Path, tmp_path: Path) -> None:
    os.chown(file, NOBODY, -1)
    assert error(read_private, str(file)) == "key.backend_fault file_owner"
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, -1)
    assert error(KeyFolder(str(folder)).read, "k.pem") == "key.backend_fault directory_owner"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: only root can become one")
def test_a_file_that_cannot_be_opened_is_a_fault(file: Path) -> None:
    program = (
        "import os, sys\n"
        "from signerd.errors import SignerdError\n"
        "from signerd_key_file.files import read_private\n"
        f"os.chdir({str(file.parent)!r}); os.setuid({NOBODY})\n"
        "try: read_private('key.pem')\n"
        "except SignerdError as exc: print(exc.code, exc.reason)\n"
    )
    file.parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "key.backend_fault file_unreadable"


def test_a_credential_may_show_a_group_but_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert error(read_credential, "key") == "key.backend_fault no_credentials"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    for mode in (0o400, 0o440, 0o600):
        path.chmod(mode)
        assert read_credential("key") == b"secret"
    for mode in (0o460, 0o444, 0o602):
        path.chmod(mode)
        assert error(read_credential, "key") == "key.backend_fault file_mode"
    assert error(read_credential, "other") == "key.not_found no_such_key"


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o1777])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    assert error(KeyFolder(str(folder)).read, "k.pem") == "key.backend_fault directory_mode"
    assert error(KeyFolder(str(folder)).create, "k.pem", b"x") == "key.backend_fault directory_mode"
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_none_is_a_fault(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for path in (file, link):
        assert error(KeyFolder(str(path)).read, "k.pem") == "key.backend_fault directory_unreadable"
        assert error(KeyFolder(str(path)).create, "k.pem", b"x") == "key.backend_fault directory_unreadable"


def test_a_folder_that_is_not_there_holds_no_key_and_is_made_for_the_first(tmp_path: Path) -> None:
    keys = KeyFolder(str(tmp_path / "new"))
    assert error(keys.read, "k.pem") == "key.not_found no_such_key"
    old = os.umask(0)
    try:
        keys.create("k.pem", b"first")
    finally:
        os.umask(old)
    assert keys.read("k.pem") == b"first"
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o700
    lost = KeyFolder(str(tmp_path / "no" / "such"))
    assert error(lost.create, "k.pem", b"x") == "key.backend_fault directory_unwritable"


def test_what_is_created_is_whole_and_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    keys = KeyFolder(str(folder))
    keys.create("k.pem", b"first")
    assert error(keys.create, "k.pem", b"second") == "key.forbidden exists"
    (folder / "dangling.pem").symlink_to(tmp_path / "elsewhere")
    assert error(keys.create, "dangling.pem", b"third") == "key.forbidden exists"
    assert keys.read("k.pem") == b"first"
    assert not (tmp_path / "elsewhere").exists()
    assert sorted(entry.name for entry in folder.iterdir()) == ["dangling.pem", "k.pem"]


def test_a_disk_that_takes_nothing_is_a_fault_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert error(KeyFolder(str(folder)).create, "k.pem", b"x") == "key.backend_fault directory_unwritable"
    assert list(folder.iterdir()) == []
