"""T19: a caller hands over a FIFO, a device, an unsealed or changing memfd, a hundred descriptors.

Nothing of it is read, nothing of it blocks, nothing stays open in the daemon, and others are served.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running.client import ARTEFACT, SBOM, Client, Connect, ended, memfd
from running.configured import open_descriptors, until
from running.daemon import Running

SIZE = len(SBOM)
F_ADD_SEALS = 1033
SHRINK, GROW, WRITE = 2, 4, 8


@pytest.fixture(autouse=True)
def nothing_stays_open(daemon: Running, client: Client, sbom: dict[str, Any]) -> Iterator[None]:
    """Count the daemon's descriptors before and after: closed or not, requests leave none behind."""
    document = memfd(SBOM)  # the document worker is started before the first count
    assert client.result("sign.dsse", {**sbom, "predicate": {"fd": 0, "size": SIZE}}, [document])["bundles"]
    os.close(document)
    before = open_descriptors(daemon.pid)
    yield
    until(lambda: open_descriptors(daemon.pid) <= before)
    assert "defect" not in daemon.said


KINDS: dict[str, Callable[[Path], list[int]]] = {
    "fifo": lambda folder: [fifo(folder / "fifo")],
    "pipe": lambda _: list(os.pipe()),
    "device": lambda _: [os.open("/dev/zero", os.O_RDONLY)],
    "o_path": lambda folder: [os.open(folder / "file", os.O_PATH)],
    "directory": lambda folder: [os.open(folder, os.O_RDONLY)],
    "socket": lambda _: [end.detach() for end in socket.socketpair()],
    "write_only": lambda folder: [os.open(folder / "file", os.O_WRONLY)],
    "regular": lambda folder: [os.open(folder / "file", os.O_RDONLY)],
    "unsealed": lambda _: [memfd(SBOM, sealed=False)],
    "no_write": lambda _: [partly_sealed(WRITE)],
    "no_grow": lambda _: [partly_sealed(GROW | WRITE)],
    "no_shrink": lambda _: [partly_sealed(SHRINK | WRITE)],
    "sealed": lambda _: [memfd(SBOM)],
    "sealed_write_only": lambda _: again(os.O_WRONLY),
    "sealed_o_path": lambda _: again(os.O_PATH),
}
"""How to make a descriptor of each kind, of ``SIZE`` bytes where it has a size: the first of the list."""


def fifo(path: Path) -> int:
    os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def partly_sealed(seals: int) -> int:
    descriptor = memfd(SBOM, sealed=False)
    fcntl.fcntl(descriptor, F_ADD_SEALS, seals)
    return descriptor


def again(flags: int) -> list[int]:
    """A sealed memfd, opened once more with other flags."""
    sealed = memfd(SBOM)
    return [os.open(f"/proc/self/fd/{sealed}", flags), sealed]


@contextlib.contextmanager
def made(kind: str, folder: Path) -> Iterator[int]:
    (folder / "file").write_bytes(SBOM)
    opened = KINDS[kind](folder)
    yield opened[0]
    for descriptor in opened:
        os.close(descriptor)


NEVER = [*"fifo pipe device o_path directory socket write_only sealed_write_only sealed_o_path".split()]


@pytest.mark.parametrize("kind", [*NEVER, "regular", "unsealed", "no_write", "no_grow", "no_shrink"])
def test_as_a_predicate(client: Client, sbom: dict[str, Any], tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as descriptor:
        answer = client.error("sign.dsse", {**sbom, "predicate": {"fd": 0, "size": SIZE}}, [descriptor])
    assert (answer["code"], answer["details"]["reason"]) == ("request.malformed", "not_sealed")
    assert client.result("sign.dsse", sbom)["bundles"]


@pytest.mark.parametrize("kind", [kind for kind in NEVER if kind != "sealed_o_path"])
def test_as_a_subject(client: Client, sbom: dict[str, Any], tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as descriptor:
        subject = [{"name": "artefact", "fd": 0, "size": SIZE}]
        answer = client.error("sign.dsse", {**sbom, "subject": subject}, [descriptor])
    assert (answer["code"], answer["details"]["reason"]) == ("request.malformed", "descriptor_kind")
    assert client.result("sign.dsse", sbom)["bundles"]


@pytest.mark.parametrize("kind", ["regular", "unsealed", "sealed"])
def test_a_subject_may_be_a_file(client: Client, sbom: dict[str, Any], tmp_path: Path, kind: str) -> None:
    with made(kind, tmp_path) as descriptor:
        subject = [{"name": "artefact", "fd": 0, "size": SIZE}]
        assert client.result("sign.dsse", {**sbom, "subject": subject}, [descriptor])["bundles"]


@pytest.mark.parametrize("off", [-1, 1, 1 << 30])
@pytest.mark.parametrize("place", ["predicate", "subject"])
def test_a_size_that_lies(client: Client, sbom: dict[str, Any], tmp_path: Path, off: int, place: str) -> None:
    with made("sealed" if place == "predicate" else "regular", tmp_path) as descriptor:
        value = {"fd": 0, "size": SIZE + off}
        params = {**sbom, "predicate": value} if place == "predicate" else {**sbom, "subject": [{"name": "a", **value}]}
        answer = client.error("sign.dsse", params, [descriptor])
    assert (answer["code"], answer["details"]["reason"]) == ("request.malformed", "size_mismatch")


def test_a_file_that_grows_after_it_was_named(client: Client, sbom: dict[str, Any], tmp_path: Path) -> None:
    """Its size is right when it is sent; it is looked at again after the last byte was hashed."""
    file = tmp_path / "growing"
    size = 256 << 20
    with file.open("wb") as growing:
        growing.truncate(size)  # sparse: hashing it takes a while all the same
    descriptor = os.open(file, os.O_RDONLY)
    request_id = client.ask("sign.dsse", {**sbom, "subject": [{"name": "a", "fd": 0, "size": size}]}, [descriptor])
    assert client.call("daemon.health", {})["result"]["ready"] is True  # the loop is free, the request was taken
    os.truncate(file, size + 1)
    answer = client.take()
    os.close(descriptor)
    assert answer is not None
    assert answer["id"] == request_id
    assert (answer["code"], answer["details"]["reason"]) == ("request.malformed", "size_mismatch")


@pytest.mark.parametrize("cause", ["cancel", "deadline", "hang_up"])
def test_files_whose_request_is_over_are_closed(
    connect: Connect, client: Client, sbom: dict[str, Any], tmp_path: Path, cause: str
) -> None:
    """More requests than the pool has threads: those that still queue for one give their descriptors back
    too."""
    file = tmp_path / "large"
    size = 512 << 20
    with file.open("wb") as large:
        large.truncate(size)
    descriptor = os.open(file, os.O_RDONLY)
    caller = connect()
    caller.greet()
    more = {"deadline_ms": 50} if cause == "deadline" else {}
    params = {**sbom, "subject": [{"name": "a", "fd": 0, "size": size}]}
    asked = [caller.ask("sign.dsse", params, [descriptor], **more) for _ in range(8)]
    os.close(descriptor)
    if cause == "cancel":
        for request_id in asked:
            caller.put({"type": "cancel", "id": request_id})
    if cause == "hang_up":
        caller.socket.shutdown(socket.SHUT_RDWR)
    else:
        answers = [caller.take() for _ in asked]
        code = "request.cancelled" if cause == "cancel" else "request.deadline"
        assert {answer["code"] for answer in answers if answer} == {code}
    assert client.result("sign.dsse", sbom)["bundles"]
    caller.socket.close()
    os.truncate(file, 0)  # what is being hashed comes to its end


def test_indices(client: Client, sbom: dict[str, Any]) -> None:
    document = memfd(SBOM)
    by_fd = {**sbom, "predicate": {"fd": 0, "size": SIZE}}
    cases: list[tuple[dict[str, Any], list[int], str]] = [
        (by_fd, [], "descriptor_index"),
        ({**sbom, "predicate": {"fd": 1, "size": SIZE}}, [document], "descriptor_index"),
        ({**by_fd, "subject": [{"name": "a", "fd": 0, "size": SIZE}]}, [document], "descriptor_index"),
        (by_fd, [document, document], "descriptor_surplus"),
        (sbom, [document], "descriptor_surplus"),
    ]
    for params, descriptors, reason in cases:
        answer = client.error("sign.dsse", params, descriptors)
        assert (answer["code"], answer["details"]["reason"]) == ("request.malformed", reason)
    negative = client.error("sign.dsse", {**sbom, "predicate": {"fd": -1, "size": SIZE}}, [document])
    assert negative["code"] == "request.malformed"
    answer = client.error("sign.batch", {"items": [by_fd, by_fd]}, [document])
    assert answer["details"]["reason"] == "descriptor_index"
    assert client.result("sign.dsse", by_fd, [document])["bundles"]
    os.close(document)


def test_a_descriptor_of_another_request_is_not_there(client: Client, sbom: dict[str, Any]) -> None:
    document = memfd(SBOM)
    by_fd = {**sbom, "predicate": {"fd": 0, "size": SIZE}}
    first = client.ask("sign.dsse", by_fd, [document])
    second = client.ask("sign.dsse", by_fd)
    os.close(document)
    answers = {answer["id"]: answer for answer in (client.take(), client.take()) if answer}
    assert answers[first]["type"] == "response"
    assert answers[second]["details"]["reason"] == "descriptor_index"


def test_methods_and_messages_that_take_none(client: Client) -> None:
    document = memfd(SBOM)
    for method in ("daemon.health", "keys.list", "session.status"):
        assert client.error(method, {}, [document])["details"]["reason"] == "descriptor_surplus"
    client.put({"type": "cancel", "id": 4}, [document])
    os.close(document)
    assert ended(client)["details"]["reason"] == "surplus_descriptor"


def test_more_than_64_close_the_connection(connect: Connect, sbom: dict[str, Any]) -> None:
    document = memfd(SBOM)
    for count in (65, 100, 253):
        client = connect()
        client.greet()
        client.ask("sign.dsse", sbom, [document] * count)
        assert ended(client)["details"]["reason"] == "descriptors_cut_off"
    os.close(document)


@pytest.mark.parametrize("where", ["stray", "cut_off", "unread"])
def test_one_whose_close_waits_for_its_maker(
    daemon: Running, connect: Connect, client: Client, sbom: dict[str, Any], where: str
) -> None:
    """A TCP socket with SO_LINGER: its last close waits for a peer that reads nothing, but not in the loop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lingering = socket.create_connection(listening.getsockname())
        peer, _ = listening.accept()
    lingering.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while lingering.send(bytes(1 << 16)):
            pass
    lingering.setblocking(True)
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    client.socket.settimeout(10)
    hostile = connect()
    hostile.greet()
    if where == "stray":
        hostile.ask("daemon.health", {}, [lingering.fileno()])
    elif where == "cut_off":
        document = memfd(SBOM)
        hostile.ask("sign.dsse", sbom, [*[document] * 100, lingering.fileno()])
        os.close(document)
    else:
        os.kill(daemon.pid, signal.SIGSTOP)  # it reads what ends the connection while the rest is there already
        hostile.socket.sendall(b"\xff" * 4)
        socket.send_fds(hostile.socket, [b"x"], [lingering.fileno()])
    lingering.close()
    os.kill(daemon.pid, signal.SIGCONT)
    hostile.take()
    hostile.socket.close()
    assert client.result("sign.dsse", sbom)["bundles"]
    peer.close()  # a reset: what waits for it goes on


def test_descriptors_of_frames_that_never_end(daemon: Running, connect: Connect, client: Client) -> None:
    """Each byte of an unfinished frame may bring 60 more: what a user can make the daemon hold has an end."""
    document = memfd(SBOM)
    held = open_descriptors(daemon.pid)
    clients = [connect() for _ in range(4)]
    for each in clients:
        each.greet()
        each.socket.sendall((1 << 20).to_bytes(4, "big"))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(4000):
            for each in clients:
                socket.send_fds(each.socket, [b"\x80"], [document] * 60)
            assert open_descriptors(daemon.pid) - held < 9000
    os.close(document)
    ended_by_now, _, _ = select.select([each.socket for each in clients], [], [], 20)
    over = [each for each in ended_by_now if b"descriptors" in each.recv(4096)]
    assert over, "no connection was ended for what it made the daemon hold"
    for each in clients:
        each.socket.close()
    until(lambda: open_descriptors(daemon.pid) <= held)
    assert client.result("daemon.health", {})["ready"] is True


def test_the_artefact_is_the_one_that_was_hashed(client: Client, sbom: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "artefact"
    file.write_bytes(b"the artefact")
    with file.open("rb") as opened:
        opened.read()  # the offset counts for nothing
        subject = [{"name": "artefact", "fd": 0, "size": 12}]
        result = client.result("sign.dsse", {**sbom, "subject": subject}, [opened.fileno()])
        assert opened.tell() == 12
    assert result["bundles"] == client.result("sign.dsse", sbom)["bundles"]
    assert sbom["subject"][0]["digest"]["sha256"] == ARTEFACT
