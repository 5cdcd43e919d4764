import json
import os
import resource
import select
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from signerd.host.spawn import Spawned, spawn

CHILD = """
import json, os, socket, sys, time
link = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
mode = sys.argv[1]
if mode == "report":
    print("this must not reach the link")
    report = {
        "stdin": sys.stdin.read(),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "environment": sorted(os.environ),
        "group": os.getpgid(0) == os.getpid(),
        "path": sys.path[0],
    }
    link.sendall(json.dumps(report).encode())
elif mode == "family":
    if os.fork() == 0:
        link.sendall(str(os.getpid()).encode())
    time.sleep(600)
elif mode == "sleep":
    time.sleep(600)
elif mode == "polite":
    link.recv(1)
    sys.exit(7)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "signerd_spawned_child.py").write_text(textwrap.dedent(CHILD))
    old = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{old}" if old else str(tmp_path))
    return "signerd_spawned_child"


@pytest.fixture
def spawned(module: str) -> Iterator[list[Spawned]]:
    started: list[Spawned] = []
    yield started
    for each in started:
        each.end(0)


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z" and os.getpid() != int(
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        ):
            return True  # dead; its own parent, init, has yet to look
        time.sleep(0.01)
    return False


def wait(process: Spawned) -> None:
    assert select.select([process.pidfd], [], [], 10)[0]


def test_the_child_gets_its_link_its_settings_and_nothing_else(
    module: str, spawned: list[Spawned], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("SIGNERD_CONFIG", "x")
    secret = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(secret, True)
    settings = "s" * 200_000  # more than a pipe holds
    process = spawn(module, ["report"], settings=settings.encode(), environment={"EXTRA": "1"})
    spawned.append(process)
    wait(process)
    data = b""
    while part := process.socket.recv(1 << 20):
        data += part
    os.close(secret)
    report = json.loads(data)
    assert report["stdin"] == settings
    link = max(report["fds"][3:])
    assert report["fds"][:3] == [0, 1, 2]
    assert len(report["fds"]) <= 5, "the link, and the descriptor that lists the others"
    assert link
    assert "AWS_SECRET_ACCESS_KEY" not in report["environment"]
    assert "SIGNERD_CONFIG" not in report["environment"]
    assert {"EXTRA", "SIGNERD_PARENT"} <= set(report["environment"])
    assert report["group"]
    assert report["path"] != ""
    assert "must not reach" in capfd.readouterr().err
    assert process.reap()
    assert process.status == 0


def test_without_settings_standard_input_is_empty(module: str, spawned: list[Spawned]) -> None:
    process = spawn(module, ["report"])
    spawned.append(process)
    wait(process)
    assert json.loads(process.socket.recv(1 << 20))["stdin"] == ""


def test_reaping_never_waits_and_leaves_neither_zombie_nor_descriptor(
    module: str, spawned: list[Spawned]
) -> None:
    before = os.listdir("/proc/self/fd")
    process = spawn(module, ["sleep"])
    spawned.append(process)
    start = time.monotonic()
    assert not process.reap()
    assert time.monotonic() - start < 0.5
    process.kill()
    wait(process)
    assert process.reap()
    assert process.status == -signal.SIGKILL
    assert process.reap(), "again is harmless"
    process.kill()
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    assert os.listdir("/proc/self/fd") == before


def test_a_process_with_a_high_descriptor_is_reaped_like_any_other(
    module: str, spawned: list[Spawned]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this user may not open that many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        process = spawn(module, ["sleep"])
        spawned.append(process)
        assert process.pidfd > 1023
        assert not process.reap()
        process.end(0)
        assert process.status == -signal.SIGKILL
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_whole_group_dies_with_its_leader(module: str, spawned: list[Spawned]) -> None:
    process = spawn(module, ["family"])
    spawned.append(process)
    grandchild = int(process.socket.recv(100))
    os.kill(process.pid, signal.SIGKILL)  # the leader alone, as a crash would
    wait(process)
    assert process.reap()
    assert gone(grandchild)


def test_end_gives_a_process_time_to_finish_by_itself(module: str, spawned: list[Spawned]) -> None:
    process = spawn(module, ["polite"])
    spawned.append(process)
    process.end(10)
    assert process.status == 7
    stubborn = spawn(module, ["sleep"])
    spawned.append(stubborn)
    start = time.monotonic()
    stubborn.end(0.1)
    assert time.monotonic() - start < 3
    assert stubborn.status == -signal.SIGKILL


def test_the_death_of_the_child_is_the_end_of_the_link(module: str, spawned: list[Spawned]) -> None:
    process = spawn(module, ["sleep"])
    spawned.append(process)
    process.socket.settimeout(5)
    process.kill()
    assert process.socket.recv(1) == b""


def test_a_program_that_cannot_be_run_leaves_no_descriptor(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(FileNotFoundError):
        spawn(module, ["sleep"], settings=b"{}")
    assert os.listdir("/proc/self/fd") == before


def test_the_socket_is_a_connected_pair(module: str, spawned: list[Spawned]) -> None:
    process = spawn(module, ["sleep"])
    spawned.append(process)
    assert process.socket.family == socket.AF_UNIX
    assert process.socket.type == socket.SOCK_STREAM
    assert not process.socket.get_inheritable()
