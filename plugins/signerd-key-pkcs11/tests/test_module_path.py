import hashlib
import os
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_pkcs11.module_path import checked
from signerd_key_pkcs11.settings import ModuleFile


@pytest.fixture
def module(tmp_path: Path) -> Path:
    made = tmp_path / "lib" / "m.so"
    made.parent.mkdir(mode=0o755)
    made.write_bytes(b"\x7fELF")
    made.chmod(0o644)
    return made


def refused(path: Path, sha256: str | None = None) -> str:
    with pytest.raises(SignerdError) as caught:
        checked(ModuleFile(str(path), sha256))
    assert caught.value.code == "key.backend_fault"
    assert "/" not in caught.value.public
    return caught.value.reason


def test_the_real_path_comes_back(module: Path, tmp_path: Path) -> None:
    assert checked(ModuleFile(str(module))) == str(module)
    (tmp_path / "alias.so").symlink_to("lib/m.so")
    (tmp_path / "lib2").symlink_to(tmp_path / "lib")
    for way in ("alias.so", "lib2/m.so", "lib2/../alias.so", "./lib//m.so"):
        assert checked(ModuleFile(f"{tmp_path}/{way}")) == str(module)


def test_its_content_can_be_pinned(module: Path) -> None:
    digest = hashlib.sha256(module.read_bytes()).hexdigest()
    assert checked(ModuleFile(str(module), digest)) == str(module)
    assert refused(module, "00" * 32) == "module_digest"


def test_what_is_no_file(module: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nobody")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo").chmod(0o600)
    assert refused(tmp_path / "none") == "module_missing"
    assert refused(tmp_path / "loop") == "module_missing"
    assert refused(tmp_path / "gone") == "module_missing"
    assert refused(module / "below") == "module_missing"
    assert refused(module.parent) == "module_type"
    assert refused(tmp_path / "fifo") == "module_type"


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write(module: Path, mode: int) -> None:
    module.chmod(mode)
    assert refused(module) == "module_mode"


def test_a_folder_on_the_way_that_others_can_write_also_behind_a_link(module: Path, tmp_path: Path) -> None:
    (tmp_path / "alias.so").symlink_to(module)
    module.parent.chmod(0o777)
    assert refused(module) == "module_mode"
    assert refused(tmp_path / "alias.so") == "module_mode"
    module.parent.chmod(0o1777)  # nobody can put another file in its place there
    assert checked(ModuleFile(str(module))) == str(module)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_a_link_or_a_folder_of_another_user(module: Path, tmp_path: Path) -> None:
    link = tmp_path / "alias.so"
    link.symlink_to(module)
    os.chown(link, 1, 1, follow_symlinks=False)
    assert refused(link) == "module_owner"
    os.chown(module, 1, 1)
    assert refused(module) == "module_owner"
    os.chown(module, 0, 0)
    os.chown(module.parent, 1, 1)
    assert refused(module) == "module_owner"


def test_a_program_is_held_to_the_same_by_its_own_name(module: Path) -> None:
    assert checked(ModuleFile(str(module)), "tool") == str(module)
    module.chmod(0o666)
    with pytest.raises(SignerdError) as caught:
        checked(ModuleFile(str(module)), "tool")
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "tool_mode")
