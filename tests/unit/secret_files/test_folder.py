import os
from collections.abc import Callable
from pathlib import Path

import pytest

from signerd.secret_files.folder import NameTaken, SecretFolder, UnfitFolder
from signerd.secret_files.reading import Unfit

NOBODY = 65534
MOST = 1024


def reason(function: Callable[..., object], *args: object) -> str:
    with pytest.raises(UnfitFolder) as caught:
        function(*args)
    return caught.value.reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir(mode=0o700)
    return path


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o1777])
def test_a_folder_that_others_may_write(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert reason(SecretFolder(str(folder), MOST).read, "k") == "mode"
    assert reason(SecretFolder(str(folder), MOST).create, "k", b"x") == "mode"
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(folder: Path) -> None:
    os.chown(folder, NOBODY, -1)
    assert reason(SecretFolder(str(folder), MOST).read, "k") == "owner"


def test_a_folder_that_is_none(folder: Path, tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(folder)
    for path in (file, link):
        assert reason(SecretFolder(str(path), MOST).read, "k") == "unreadable"
        assert reason(SecretFolder(str(path), MOST).create, "k", b"x") == "unreadable"


def test_a_folder_that_is_not_there_holds_nothing_and_is_made_for_the_first(tmp_path: Path) -> None:
    secrets = SecretFolder(str(tmp_path / "new"), MOST)
    with pytest.raises(Unfit) as caught:
        secrets.read("k")
    assert caught.value.reason == "missing"
    old = os.umask(0)
    try:
        secrets.create("k", b"first")
    finally:
        os.umask(old)
    assert secrets.read("k") == b"first"
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "new" / "k").stat().st_mode & 0o7777 == 0o600
    assert reason(SecretFolder(str(tmp_path / "no" / "such"), MOST).create, "k", b"x") == "unwritable"


def test_what_is_created_takes_no_name_that_is_taken(folder: Path, tmp_path: Path) -> None:
    secrets = SecretFolder(str(folder), MOST)
    secrets.create("k", b"first")
    (folder / "dangling").symlink_to(tmp_path / "elsewhere")
    for name in ("k", "dangling"):
        with pytest.raises(NameTaken):
            secrets.create(name, b"second")
    assert secrets.read("k") == b"first"
    assert not (tmp_path / "elsewhere").exists()
    assert sorted(entry.name for entry in folder.iterdir()) == ["dangling", "k"]


def test_an_unfit_file_says_in_which_folder(folder: Path) -> None:
    (folder / "k").write_bytes(bytes(MOST + 1))
    (folder / "k").chmod(0o600)
    with pytest.raises(Unfit, match=f"in {folder}") as caught:
        SecretFolder(str(folder), MOST).read("k")
    assert caught.value.reason == "size"


@pytest.mark.parametrize("call", ["open", "fsync", "link"])
def test_a_disk_that_takes_nothing_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    really = getattr(os, call)

    def full(*args: object, **named: object) -> object:
        if call == "open" and not str(args[0]).startswith("."):
            return really(*args, **named)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    assert reason(SecretFolder(str(folder), MOST).create, "k", b"x") == "unwritable"
    assert list(folder.iterdir()) == []
