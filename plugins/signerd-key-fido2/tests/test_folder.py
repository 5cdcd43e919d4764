import os
import stat

import pytest

from signerd.errors import SignerdError
from signerd_key_fido2.folder import MOST_BYTES, Folder


def refused(reason, method, *args):
    with pytest.raises(SignerdError) as caught:
        method(*args)
    assert caught.value.reason == reason


def replace(folder, name, text):
    with folder.locked() as locked:
        locked.replace(name, text)


def test_what_is_written_is_read_and_removed(tmp_path):
    folder = Folder(str(tmp_path / "state"))
    assert folder.read("one") is None
    replace(folder, "one", b"text")
    replace(folder, "one", b"other")
    assert folder.read("one") == b"other"
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "one").stat().st_mode) == 0o600
    with folder.locked() as locked:
        locked.remove("one")
        locked.remove("one")
    assert folder.read("one") is None
    assert os.listdir(tmp_path / "state") == []


def test_a_new_file_is_written_over_nothing(tmp_path):
    folder = Folder(str(tmp_path / "state"))
    folder.create("one", b"first")
    refused("exists", folder.create, "one", b"second")
    assert folder.read("one") == b"first"
    assert os.listdir(tmp_path / "state") == ["one"]


@pytest.mark.parametrize("mode", [0o770, 0o703])
def test_a_folder_that_others_write_to_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    folder = Folder(str(tmp_path))
    refused("state_folder", folder.read, "one")
    refused("state_folder", folder.create, "one", b"")
    refused("state_folder", replace, folder, "one", b"")


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        folder = Folder(str(tmp_path / name))
        refused("state_folder", folder.read, "one")
        refused("state_folder", folder.create, "one", b"")
        refused("state_folder", replace, folder, "one", b"")
    refused("state_folder", replace, Folder(str(tmp_path / "absent" / "deeper")), "one", b"")


def test_what_cannot_be_replaced_leaves_no_draft(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "one").mkdir()
    refused("state_folder", replace, Folder(str(tmp_path)), "one", b"text")
    assert os.listdir(tmp_path) == ["one"]


def test_a_file_that_others_reach_is_refused(tmp_path):
    tmp_path.chmod(0o700)
    folder = Folder(str(tmp_path))
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o644)
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    folder.create("large", b"x" * (MOST_BYTES + 1))
    for name in ("open", "fifo", "link", "large"):
        refused("state_file", folder.read, name)
