"""T19, for the data of a MAC: a FIFO, a device, O_PATH, a size that lies, a file that changes while it is read.

A regular file or any memfd is read where the key is; of everything else nothing is, and nothing stays open.
"""

import hmac
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running.client import Client, memfd
from running.configured import open_descriptors, stopped, until
from running.daemon import Running, running
from running.macs import SECRETS, macs_config

DATA = b"what is authenticated"
SIZE = len(DATA)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("macs")
    with running(base, config=macs_config(base)) as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_stays_open(daemon: Running, client: Client) -> Iterator[None]:
    """Count the descriptors of front end, sealer and workers before and after."""
    sealer = daemon.child("sealer")
    children = Path(f"/proc/{sealer}/task/{sealer}/children").read_text().split()
    processes = [daemon.pid, sealer, *[int(pid) for pid in children]]
    before = [open_descriptors(pid) for pid in processes]
    yield
    until(lambda: all(open_descriptors(pid) <= was for pid, was in zip(processes, before, strict=True)))
    assert "defect" not in daemon.said
    assert "taken down" not in daemon.said


def fifo(folder: Path) -> int:
    os.mkfifo(folder / "fifo")
    return os.open(folder / "fifo", os.O_RDWR | os.O_NONBLOCK)


def file(folder: Path, flags: int = os.O_RDONLY) -> int:
    (folder / "file").write_bytes(DATA)
    return os.open(folder / "file", flags)


def again(folder: Path, flags: int) -> int:
    sealed = memfd(DATA)
    opened = os.open(f"/proc/self/fd/{sealed}", flags)
    os.close(sealed)
    return opened


KINDS: dict[str, Callable[[Path], int]] = {
    "fifo": fifo,
    "device": lambda _: os.open("/dev/zero", os.O_RDONLY),
    "terminal": lambda _: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY),
    "o_path": lambda folder: file(folder, os.O_PATH),
    "write_only": lambda folder: file(folder, os.O_WRONLY),
    "directory": lambda folder: os.open(folder, os.O_RDONLY),
    "socket": lambda _: socket.socket(socket.AF_UNIX).detach(),
    "event": lambda _: os.eventfd(0),
    "memfd_write_only": lambda folder: again(folder, os.O_WRONLY),
}


def asked(size: int = SIZE) -> dict[str, Any]:
    return {"purpose": "signing", "key": "hmac:hook", "data": {"fd": 0, "size": size}}


def reason(answer: dict[str, Any]) -> str:
    return f"{answer['code']} {answer['details']['reason']}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused(client: Client, tmp_path: Path, kind: str) -> None:
    descriptor = KINDS[kind](tmp_path)
    assert reason(client.error("hmac.compute", asked(), [descriptor])) == "request.malformed descriptor_kind"
    checked = {**asked(), "mac": bytes(32)}
    assert reason(client.error("hmac.verify", checked, [descriptor])) == "request.malformed descriptor_kind"
    os.close(descriptor)


@pytest.mark.parametrize("kind", ["file", "sealed", "unsealed"])
def test_files_and_memfds_are_read_whatever_their_offset(client: Client, tmp_path: Path, kind: str) -> None:
    descriptor = file(tmp_path) if kind == "file" else memfd(DATA, sealed=kind == "sealed")
    os.lseek(descriptor, 5, os.SEEK_SET)
    made = client.result("hmac.compute", asked(), [descriptor])["mac"]
    assert made == hmac.digest(SECRETS["hook"][1], DATA, "sha256")
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 5
    os.close(descriptor)


@pytest.mark.parametrize("off", [-SIZE, -1, 1, 1 << 30])
def test_a_size_that_lies(client: Client, tmp_path: Path, off: int) -> None:
    descriptor = file(tmp_path)
    answer = client.error("hmac.compute", asked(SIZE + off), [descriptor])
    assert reason(answer) == "request.malformed size_mismatch"
    os.close(descriptor)


@pytest.mark.parametrize("to", [0, 1 << 20, (1 << 33) + 1])
def test_a_file_that_changes_its_size_while_it_is_read(client: Client, tmp_path: Path, to: int) -> None:
    with (tmp_path / "file").open("wb") as changing:
        changing.truncate(1 << 33)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    request = client.ask("hmac.compute", asked(1 << 33), [descriptor], deadline_ms=60_000)
    assert client.call("daemon.health", {})["result"]["ready"] is True
    os.truncate(tmp_path / "file", to)
    if to > 1 << 20:
        os.truncate(tmp_path / "file", 1 << 21)  # it has been longer: what is left is soon read
    os.close(descriptor)
    answer = client.take()
    assert answer is not None
    assert (answer["id"], reason(answer)) == (request, "request.malformed size_mismatch")


def test_indices(client: Client, tmp_path: Path) -> None:
    descriptor = file(tmp_path)
    for params, descriptors, said in (
        (asked(), [], "descriptor_index"),
        ({**asked(), "data": {"fd": 1, "size": SIZE}}, [descriptor], "descriptor_index"),
        (asked(), [descriptor, descriptor], "descriptor_surplus"),
        ({**asked(), "data": DATA}, [descriptor], "descriptor_surplus"),
    ):
        assert client.error("hmac.compute", params, descriptors)["details"]["reason"] == said
    os.close(descriptor)


def test_one_whose_close_waits_for_its_maker_holds_up_nobody(daemon: Running, client: Client) -> None:
    """A TCP socket with SO_LINGER: its last close waits for a peer that reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lingering = socket.create_connection(listening.getsockname())
        peer, _ = listening.accept()
    lingering.setblocking(False)
    try:
        while lingering.send(bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass
    lingering.setblocking(True)
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    with stopped(daemon.pid):
        request = client.ask("hmac.compute", asked(), [lingering.fileno()])
        lingering.close()  # the daemon has the last one
    answer = client.take()
    assert answer is not None
    assert (answer["id"], reason(answer)) == (request, "request.malformed descriptor_kind")
    assert client.result("hmac.compute", {**asked(), "data": DATA})["mac"]
    peer.close()
