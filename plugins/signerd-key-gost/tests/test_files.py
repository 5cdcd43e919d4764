from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_gost.files import LARGEST, create_in, read_in, read_place


def told(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(SignerdError) as caught:
        function(*args)
    return f"{caught.value.code} {caught.value.reason}"


def test_a_file_is_written_once_and_read_back(tmp_path: Path) -> None:
    folder = str(tmp_path / "keys")
    create_in(folder, "a.pem", b"secret")
    assert (tmp_path / "keys" / "a.pem").stat().st_mode & 0o777 == 0o600
    assert read_in(folder, "a.pem") == read_place(f"{folder}/a.pem") == b"secret"
    assert told(create_in, folder, "a.pem", b"other") == "key.forbidden exists"


def test_what_is_wrong_is_told_as_a_backend_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = tmp_path / "a.pem"
    assert told(read_place, str(path)) == "key.not_found no_such_key"
    assert told(read_place, "credential") == "key.backend_fault no_credentials"
    path.write_bytes(bytes(LARGEST + 1))
    path.chmod(0o644)
    assert told(read_place, str(path)) == "key.backend_fault file_mode"
    path.chmod(0o600)
    assert told(read_place, str(path)) == "key.backend_fault file_size"
    (tmp_path / "link").symlink_to(path)
    assert told(read_place, str(tmp_path / "link")) == "key.backend_fault file_symlink"
    tmp_path.chmod(0o777)
    assert told(read_in, str(tmp_path), "a.pem") == "key.backend_fault directory_mode"
