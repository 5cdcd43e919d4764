"""T12: a child process inherits a bound connection, or another process is handed it. The kernel names each
sender."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from running.client import Client, Connect, ended, frame
from running.configured import records, until
from running.daemon import Running

HANDED = """
import socket, sys
link = socket.socket(fileno=int(sys.argv[1]))
data, (fd,), _, _ = socket.recv_fds(link, 1 << 16, 1)
socket.socket(fileno=fd).sendall(data)
"""

Foreign = Callable[[Client, bytes], None]


def by_a_child(client: Client, data: bytes) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            client.socket.sendall(data)
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def by_another_process(client: Client, data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", HANDED, str(theirs.fileno())]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
            socket.send_fds(ours, [data], [client.socket.fileno()])
            assert process.wait(20) == 0


def decided(daemon: Running) -> int:
    return sum(row["kind"] == "decided" for row in daemon.leaves())


def denied(client: Client) -> None:
    last = ended(client)
    assert (last["code"], last["details"]["reason"]) == ("auth.peer_denied", "foreign_sender")


@pytest.fixture(params=[by_a_child, by_another_process])
def foreign(request: pytest.FixtureRequest) -> Foreign:
    way: Foreign = request.param
    return way


def test_a_foreign_frame_ends_the_session(
    daemon: Running, client: Client, connect: Connect, sbom: dict[str, Any], foreign: Foreign
) -> None:
    assert client.result("sign.dsse", sbom)["bundles"]
    until(lambda: all(records(daemon).values()))
    before = decided(daemon)
    foreign(client, frame({"type": "request", "id": 77, "method": "sign.dsse", "params": sbom}))
    denied(client)
    other = connect()
    assert other.greet() is not None
    assert other.result("daemon.health", {})["ready"] is True
    assert decided(daemon) == before, "it was read at all"


def test_a_foreign_hello_is_none(connect: Connect, foreign: Foreign) -> None:
    client = connect()
    foreign(client, frame({"type": "hello", "versions": [1], "software": "child"}))
    denied(client)


def test_a_frame_may_not_be_finished_by_somebody_else(client: Client, sbom: dict[str, Any], foreign: Foreign) -> None:
    data = frame({"type": "request", "id": 5, "method": "sign.dsse", "params": sbom})
    client.socket.sendall(data[:20])
    foreign(client, data[20:])
    denied(client)


def test_what_was_asked_for_before_is_cancelled_not_given_to_the_stranger(
    daemon: Running, client: Client, sbom: dict[str, Any], foreign: Foreign
) -> None:
    known = set(records(daemon))
    with contextlib.ExitStack() as stopped:
        sealer = daemon.child("sealer")
        os.kill(sealer, signal.SIGSTOP)
        stopped.callback(os.kill, sealer, signal.SIGCONT)
        client.ask("sign.dsse", sbom)
        foreign(client, frame({"type": "request", "id": 99, "method": "daemon.info", "params": {}}))
        denied(client)

    def ends() -> list[list[str]]:
        return [found for audit_id, found in records(daemon).items() if audit_id not in known]

    until(lambda: len(ends()) == 1 and len(ends()[0]) == 1)
    assert ends()[0][0] in {"cancelled", "signed_undelivered"}


def test_threads_of_the_process_are_the_process(client: Client, sbom: dict[str, Any]) -> None:
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(client.call("sign.dsse", sbom)))
    thread.start()
    thread.join(20)
    assert answers[0]["type"] == "response"
