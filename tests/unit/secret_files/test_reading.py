import os
import subprocess
import sys
from pathlib import Path

import pytest

from signerd.secret_files.reading import Unfit, read_secret, read_secret_in

NOBODY = 65534
MOST = 64


def reason(place: object, env: dict[str, str] | None = None) -> str:
    with pytest.raises(Unfit) as caught:
        read_secret(str(place), MOST, env or {})
    assert "secret" not in str(caught.value)
    return caught.value.reason


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"secret\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_all_bytes_of_a_closed_regular_file(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_secret(str(file), MOST, {}) == b"secret\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
def test_one_that_others_may_touch(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert reason(file) == "mode"


def test_what_is_no_regular_file_is_refused_without_waiting(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "dangling").symlink_to(tmp_path / "no")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert reason(tmp_path / "link") == "symlink"
    assert reason(tmp_path / "dangling") == "symlink"
    assert reason(tmp_path / "fifo") == "type"
    assert reason(tmp_path) == "type"
    assert reason(os.devnull) == "type"
    assert reason(tmp_path / "no") == "missing"
    assert reason(file / "below") == "unreadable"


@pytest.mark.parametrize("size", [0, MOST])
def test_the_shortest_and_the_longest(file: Path, size: int) -> None:
    file.write_bytes(bytes(size))
    assert len(read_secret(str(file), MOST, {})) == size


def test_one_byte_more_is_too_long(file: Path) -> None:
    file.write_bytes(bytes(MOST + 1))
    assert reason(file) == "size"


def test_one_that_grows_while_it_is_read_is_too_long(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.fstat

    def grown(fd: int) -> os.stat_result:
        found = really(fd)
        with file.open("ab") as more:
            more.write(bytes(MOST))
        return found

    monkeypatch.setattr(os, "fstat", grown)
    assert reason(file) == "size"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_of_another_user(file: Path) -> None:
    os.chown(file, NOBODY, -1)
    assert reason(file) == "owner"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: only root can become one")
def test_one_that_cannot_be_opened(file: Path) -> None:
    program = (
        "import os, sys\n"
        "from signerd.secret_files.reading import Unfit, read_secret_in\n"
        f"os.chdir({str(file.parent)!r}); os.setuid({NOBODY})\n"
        f"try: read_secret_in(None, 'key', {MOST})\n"
        "except Unfit as unfit: print(unfit.reason)\n"
    )
    file.parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "unreadable"


def test_a_credential_may_show_a_group_that_reads_and_no_more(file: Path) -> None:
    env = {"CREDENTIALS_DIRECTORY": str(file.parent)}
    for mode in (0o400, 0o440, 0o600, 0o640):
        file.chmod(mode)
        assert read_secret("key", MOST, env) == b"secret\n"
    for mode in (0o460, 0o450, 0o444, 0o602, 0o601):
        file.chmod(mode)
        assert reason("key", env) == "mode"


@pytest.mark.parametrize("folder", ["", "relative"])
def test_where_systemd_passed_nothing_there_is_no_credential(folder: str) -> None:
    assert reason("key", {"CREDENTIALS_DIRECTORY": folder}) == "no_credentials"
    assert reason("key", {}) == "no_credentials"


@pytest.mark.parametrize("name", ["", ".", "..", "../key", "sub/key", "other"])
def test_a_name_that_leads_out_of_the_credentials_is_no_credential(file: Path, name: str) -> None:
    assert reason(name, {"CREDENTIALS_DIRECTORY": str(file.parent)}) == "missing"


def test_within_an_open_folder(file: Path) -> None:
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert read_secret_in(folder, "key", MOST) == b"secret\n"
    finally:
        os.close(folder)


def test_no_descriptor_stays_open(file: Path, tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    read_secret(str(file), MOST, {})
    file.chmod(0o644)
    reason(file)
    reason(tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before
