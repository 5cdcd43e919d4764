import os
import stat

import pytest

from signerd.errors import SignerdError
from signerd_key_fido2.folder import MOST_BYTES, Folder


def refused(reason, method, *args, **named):
    with pytest.raises(SignerdError) as caught:
        method(*args, **named)
    assert caught.value.reason == reason


def test_what_is_written_is_read_and_removed(tmp_path):
    folder = Folder(str(tmp_path / "state"))
    assert folder.read("one") is None
    folder.write("one", b"text")
    folder.write("one", b"other")
    assert folder.read("one") == b"other"
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / "one").stat().st_mode) == 0o600
    folder.remove("one")
    folder.remove("one")
    assert folder.read("one") is None
    assert os.listdir(tmp_path / "state") == []


def test_a_new_file_is_written_over_nothing(tmp_path):
    folder = Folder(str(tmp_path / "state"))
    folder.write("one", b"first", new=True)
    refused("exists", folder.write, "one", b"second", new=True)
    assert folder.read("one") == b"first"
    assert os.listdir(tmp_path / "state") == ["one"]


@pytest.mark.parametrize("mode", [0o750, 0o701])
def test_a_folder_that_others_reach_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    folder = Folder(str(tmp_path))
    refused("state_folder", folder.read, "one")
    refused("state_folder", folder.write, "one", b"")
    refused("state_folder", folder.remove, "one")


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    refused("state_folder", Folder(str(tmp_path / "file")).read, "one")
    refused("state_folder", Folder(str(tmp_path / "absent" / "deeper")).read, "one")
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refused("state_folder", Folder(str(tmp_path / "link")).read, "one")


def test_a_file_that_others_wrote_is_refused(tmp_path):
    tmp_path.chmod(0o700)
    folder = Folder(str(tmp_path))
    (tmp_path / "open").write_text("")
    (tmp_path / "open").chmod(0o644)
    refused("state_file", folder.read, "open")
    os.mkfifo(tmp_path / "fifo", 0o600)
    refused("state_file", folder.read, "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "open")
    refused("state_folder", folder.read, "link")
    folder.write("large", b"x" * (MOST_BYTES + 1))
    refused("state_file", folder.read, "large")
