import subprocess
import sys
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_cryptopro.workspace import Workspace

LEAVES = """
import os, signal, sys
from signerd_key_cryptopro.workspace import Workspace
with Workspace(sys.argv[1]).folder() as folder:
    (folder / "message").write_bytes(b"secret")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "state"))
    with workspace.folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (folder / "message").write_bytes(b"x")
        workspace.sweep()
        assert (folder / "message").exists(), "it is in use"
    assert list((tmp_path / "state").iterdir()) == []
    with pytest.raises(RuntimeError), workspace.folder() as folder:
        raise RuntimeError
    assert list((tmp_path / "state").iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = subprocess.run([sys.executable, "-c", LEAVES, state], check=False, timeout=60)
    assert done.returncode == -9
    (state / "pin-00.json").write_text("{}")
    assert len(list(state.glob("tool-*/message"))) == 1
    Workspace(str(state)).sweep()
    assert [path.name for path in state.iterdir()] == ["pin-00.json"]
    Workspace(str(tmp_path / "none")).sweep()


def test_a_state_that_is_not_private_is_not_used(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(0o755)
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(tmp_path)
    for path in (state, elsewhere, tmp_path / "none" / "state"):
        with pytest.raises(SignerdError) as caught, Workspace(str(path)).folder():
            pass
        assert (caught.value.code, caught.value.reason) == ("key.backend_fault", "state_folder")
