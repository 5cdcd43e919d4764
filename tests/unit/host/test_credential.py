import os
from pathlib import Path

import pytest

from signerd.errors import Fault
from signerd.host.credential import read_credential

SECRET = b"\x00secret~" * 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "worker"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def reason(named: object, env: dict[str, str] | None = None) -> str:
    with pytest.raises(Fault) as caught:
        read_credential(str(named), env or {})
    assert caught.value.code == "key.backend_unavailable"
    assert "secret~" not in f"{caught.value}{caught.value.public}{caught.value.__context__!r}"
    return caught.value.reason


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_all_bytes_of_a_closed_file_are_the_credential(file: Path, mode: int) -> None:
    file.write_bytes(SECRET + b"\n")
    file.chmod(mode)
    assert read_credential(str(file), {}) == SECRET + b"\n"


@pytest.mark.parametrize("size", [32, 4096])
def test_the_shortest_and_the_longest(file: Path, size: int) -> None:
    file.write_bytes(bytes(size))
    assert len(read_credential(str(file), {})) == size


@pytest.mark.parametrize("size", [0, 31, 4097, 100_000])
def test_others_are_refused(file: Path, size: int) -> None:
    file.write_bytes(bytes(size))
    assert reason(file) == "credential_size"


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o601, 0o644])
def test_a_file_that_is_open_to_others_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert reason(file) == "credential_mode"


def test_what_is_no_file_is_refused_without_waiting(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert reason(tmp_path / "link") == "credential_symlink"
    assert reason(tmp_path / "fifo") == "credential_type"
    assert reason(tmp_path) == "credential_type"
    assert reason(tmp_path / "nobody") == "credential_missing"
    assert reason(file / "below") == "credential_unreadable"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 4242, 4242)
    assert reason(file) == "credential_owner"


def test_a_name_is_a_credential_of_systemds(file: Path) -> None:
    env = {"CREDENTIALS_DIRECTORY": str(file.parent)}
    file.chmod(0o440)  # an access list for the unit's user shows so
    assert read_credential("worker", env) == SECRET
    file.chmod(0o444)
    assert reason("worker", env) == "credential_mode"
    assert reason("other", env) == "credential_missing"


@pytest.mark.parametrize("name", ["", ".", "..", "../worker", "a/b"])
def test_a_name_leads_nowhere_else(file: Path, name: str) -> None:
    assert reason(name, {"CREDENTIALS_DIRECTORY": str(file.parent)}) == "credential_missing"


def test_a_name_without_systemd_is_refused() -> None:
    assert reason("worker") == "credential_missing"
    assert reason("worker", {"CREDENTIALS_DIRECTORY": "relative"}) == "credential_missing"
