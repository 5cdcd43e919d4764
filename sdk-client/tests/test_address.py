from pathlib import Path

import pytest

from signerd_client.address import SYSTEM_SOCKET, socket_path


def test_the_argument_comes_first() -> None:
    assert socket_path("/a/b.sock", {"SIGNERD_SOCKET": "/c"}) == "/a/b.sock"
    assert socket_path(Path("/a/b.sock"), {}) == "/a/b.sock"


def test_then_the_variable_then_the_users_own_then_the_systems(tmp_path: Path) -> None:
    own = tmp_path / "signerd" / "sign.sock"
    both = {"SIGNERD_SOCKET": "/c", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert socket_path(None, both) == "/c"
    assert socket_path(None, {**both, "SIGNERD_SOCKET": ""}) == SYSTEM_SOCKET
    own.parent.mkdir()
    own.symlink_to("nowhere")
    assert socket_path(None, {"XDG_RUNTIME_DIR": str(tmp_path)}) == str(own)
    assert socket_path(None, {}) == SYSTEM_SOCKET


def test_the_ready_lines_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNERD_SOCKET", "unix:/run/x/sign.sock")
    assert socket_path() == "/run/x/sign.sock"


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert socket_path("s.sock", {}) == str(tmp_path / "s.sock")
