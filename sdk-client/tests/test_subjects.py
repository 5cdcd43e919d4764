import hashlib
import os
from pathlib import Path

import pytest

from signerd.errors import Refusal
from signerd_client.subjects import Subject, SubjectFile, file_sha256, open_file


def test_a_file_is_hashed_and_named_by_its_base_name(tmp_path: Path) -> None:
    path = tmp_path / "artifact.whl"
    path.write_bytes(b"x" * 100_000)
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    assert file_sha256(path) == digest
    assert Subject.of_file(path) == Subject("artifact.whl", {"sha256": digest})
    assert Subject.of_file(path, "other").name == "other"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(Refusal) as caught:
            file_sha256(path)
        assert caught.value.reason == "not_a_file"
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "absent")


def test_a_descriptor_may_stand_for_a_subject(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    subject = SubjectFile("f", open_file(tmp_path / "f"))
    assert not os.get_inheritable(subject.descriptor)
    os.close(subject.descriptor)
