import os

import pytest

from signerd.errors import Fault
from signerd_key_fido2.pins import read_pin


def written(folder, content, mode=0o600):
    path = folder / "pin"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def refused(source, reason):
    with pytest.raises(Fault) as caught:
        read_pin(source)
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", reason)


@pytest.mark.parametrize("content", [b"1234", b"1234\n", b"x" * 63, "пин1".encode()])
def test_a_pin_is_read_without_the_newline(tmp_path, content):
    assert read_pin(written(tmp_path, content)) == content.removesuffix(b"\n").decode()


@pytest.mark.parametrize("content", [b"", b"\n", b"123", b"x" * 64, b"12\x0034", b"\xff\xff\xff\xff", b"\xd0\xbf" * 3])
def test_what_no_authenticator_takes_is_not_sent(tmp_path, content):
    refused(written(tmp_path, content), "pin_format")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_reach_is_refused(tmp_path, mode):
    refused(written(tmp_path, b"1234", mode), "pin_file_mode")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    refused(str(tmp_path / "fifo"), "pin_file_type")
    target = written(tmp_path, b"1234")
    (tmp_path / "link").symlink_to(target)
    refused(str(tmp_path / "link"), "pin_unreadable")
    refused(str(tmp_path / "absent"), "pin_unreadable")


def test_a_credential_of_systemd_may_be_readable_by_its_group(tmp_path, monkeypatch):
    written(tmp_path, b"1234", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_pin("pin") == "1234"
    (tmp_path / "pin").chmod(0o444)
    refused("pin", "pin_file_mode")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    refused("pin", "no_credentials")
