"""Clients that are silent, slow, half open, greedy or gone: honest callers keep their answers, and memory
stays."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from running.client import Client, Connect, ended, frame
from running.configured import memory_kib, open_descriptors, records, until
from running.daemon import Running

LONGEST_S = 1.0
"""An honest caller's answer takes milliseconds; a second means that it waited for somebody else."""


@contextlib.contextmanager
def honest(daemon: Running, sbom: dict[str, Any], calls: int = 20) -> Iterator[None]:
    """An honest caller signs before, while the body runs, and after; each answer comes, and in time."""
    stop = threading.Event()
    worst = [0.0]
    answers: list[str] = []

    def sign() -> None:
        with Client(daemon.socket) as client:
            client.greet()
            while not stop.is_set() or len(answers) < calls:
                began = time.monotonic()
                answers.append(client.call("sign.dsse", sbom)["type"])
                worst[0] = max(worst[0], time.monotonic() - began)
                time.sleep(0.002)

    caller = threading.Thread(target=sign)
    caller.start()
    try:
        yield
    finally:
        stop.set()
        caller.join(30)
    assert len(answers) >= calls
    assert set(answers) == {"response"}
    assert worst[0] < LONGEST_S


def connected(daemon: Running, stack: contextlib.ExitStack, count: int) -> list[Client]:
    return [stack.enter_context(Client(daemon.socket)) for _ in range(count)]


def test_silent_and_half_open_clients(daemon: Running, sbom: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack, honest(daemon, sbom):
        clients = connected(daemon, stack, 60)
        for number, client in enumerate(clients):
            if number % 3 == 1:
                client.greet()
                client.socket.sendall(b"\x00\x00\x10")  # not even a whole length
            elif number % 3 == 2:
                client.greet()
                client.socket.shutdown(socket.SHUT_RD)
                client.ask("daemon.info", {})
        for client in clients[::3]:
            assert ended(client)["details"]["reason"] == "hello_timeout"


def test_a_client_that_sends_a_byte_at_a_time(daemon: Running, sbom: dict[str, Any]) -> None:
    request = frame({"type": "request", "id": 7, "method": "sign.dsse", "params": sbom})
    with contextlib.ExitStack() as stack, honest(daemon, sbom):
        clients = connected(daemon, stack, 10)
        for client in clients:
            client.greet()
        for byte in request:
            for client in clients:
                client.socket.sendall(bytes([byte]))
        for client in clients:
            answer = client.take()
            assert answer is not None
            assert answer["type"] == "response"


def info(number: int) -> dict[str, Any]:
    return {"type": "request", "id": number, "method": "daemon.info", "params": {}}


def fill(client: Client, most: int = 20_000) -> tuple[int, bytes]:
    """Ask without reading until the daemon takes no more; return how often, and the rest of the last
    request."""
    client.socket.settimeout(0.3)
    for number in range(1, most + 1):
        data = memoryview(frame(info(number)))
        while data:
            try:
                data = data[client.socket.send(data) :]
            except TimeoutError:
                return number, bytes(data)
    return most, b""


def test_clients_that_read_nothing_are_not_read_any_more(daemon: Running, sbom: dict[str, Any]) -> None:
    """Their answers wait up to a limit; then the daemon stops reading, and the kernel stops them."""
    before = memory_kib(daemon.pid)
    with contextlib.ExitStack() as stack, honest(daemon, sbom):
        clients = connected(daemon, stack, 8)
        sent = []
        for client in clients:
            client.greet()
            sent.append(fill(client))
        assert max(count for count, _ in sent) < 10_000, "the daemon read on"
        assert memory_kib(daemon.pid) - before < 32 * 1024
        # What was asked is answered, each once, as soon as they read; what is left of a frame is then taken.
        client, (count, rest) = clients[0], sent[0]
        client.socket.settimeout(30)
        sender = threading.Thread(target=client.socket.sendall, args=(rest,))
        sender.start()
        answers = [client.take() for _ in range(count)]
        sender.join(10)
        assert [answer["id"] for answer in answers if answer] == list(range(1, count + 1))
        client.last_id = count
        assert client.result("daemon.health", {})["ready"] is True


def test_a_peer_that_goes_while_it_is_not_read_costs_nothing(daemon: Running) -> None:
    descriptors = open_descriptors(daemon.pid)
    client, halved = Client(daemon.socket), Client(daemon.socket)
    for each in (client, halved):
        each.greet()
        fill(each)
    halved.socket.shutdown(socket.SHUT_WR)
    client.close()
    # What is left is the other connection, and the pidfd that watches the process behind it.
    until(lambda: open_descriptors(daemon.pid) <= descriptors + 2)
    used = cpu_s(daemon.pid)
    time.sleep(0.5)
    assert cpu_s(daemon.pid) - used < 0.3, "the daemon spins"
    halved.close()
    until(lambda: open_descriptors(daemon.pid) <= descriptors)


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_signed_answer_that_nobody_took_is_recorded_as_such(daemon: Running, sbom: dict[str, Any]) -> None:
    known = set(records(daemon))
    sealer = daemon.child("sealer")
    os.kill(sealer, signal.SIGSTOP)
    with Client(daemon.socket) as client, Client(daemon.socket) as other:
        client.greet()
        other.greet()
        for _ in range(5):
            client.ask("sign.dsse", sbom)
        client.socket.shutdown(socket.SHUT_WR)  # half a close is a hang-up
        until(lambda: client.take() is None)
        assert other.result("daemon.health", {})["ready"] is True
    os.kill(sealer, signal.SIGCONT)

    def ends() -> list[list[str]]:
        return [found for audit_id, found in records(daemon).items() if audit_id not in known]

    until(lambda: len(ends()) == 5 and all(ends()))
    assert all(len(found) == 1 for found in ends())
    assert {found[0] for found in ends()} <= {"cancelled", "signed_undelivered"}


def test_clients_that_hang_up_at_once(daemon: Running, sbom: dict[str, Any]) -> None:
    known = set(records(daemon))
    descriptors = open_descriptors(daemon.pid)
    with honest(daemon, sbom):
        for _ in range(30):
            with Client(daemon.socket) as client:
                client.greet()
                for _ in range(4):
                    client.ask("sign.dsse", sbom)
    until(lambda: open_descriptors(daemon.pid) <= descriptors)
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))
    assert len(set(records(daemon)) - known) >= 30


# ---- what is unknown, and what was withdrawn


@pytest.mark.parametrize("request_id", [None, 5])
def test_an_unknown_type_is_refused_and_the_connection_stays(client: Client, request_id: int | None) -> None:
    message = {"type": "subscribe", "topic": "everything"}
    client.put(message if request_id is None else {**message, "id": request_id})
    answer = client.take()
    assert answer is not None
    assert (answer["code"], answer["details"]["reason"]) == ("request.unsupported", "unknown_type")
    assert answer["details"]["name"] == "subscribe"
    assert answer.get("id") == request_id
    assert client.result("daemon.health", {})["ready"] is True


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("sign.everything", {}, "sign.everything"),
        ("sign.export", {"export": {}, "provenance": {}}, "sign.export"),
        ("daemon.health", {"later": 1}, "later"),
        ("keys.describe", {"key": "file:default", "verbose": True}, "verbose"),
        ("session.bind", {"token": "a.b.c"}, "token"),
        ("audit.query", {"filters": {"colour": "red"}, "limit": 5}, "colour"),
    ],
)
def test_what_this_daemon_does_not_serve_is_named(
    client: Client, method: str, params: dict[str, Any], name: str
) -> None:
    answer = client.error(method, params)
    assert answer["code"] == "request.unsupported"
    assert answer["details"]["name"] == name
    assert client.result("daemon.health", {})["ready"] is True


@pytest.mark.parametrize("field", ["token", "proof"])
def test_a_token_beside_a_request_is_not_ignored(client: Client, sbom: dict[str, Any], field: str) -> None:
    answer = client.error("sign.dsse", sbom, (), **{field: "a.b.c"})
    assert answer["code"] == "request.unsupported"
    assert answer["details"]["name"] == "token"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"mode": "keyless"}, "key.not_found no_keyless_key"),
        ({"transparency": "required"}, "request.unsupported not_served"),
        ({"timestamp": True}, "request.unsupported not_served"),
        ({"include": ["receipt_proof"]}, "request.unsupported not_served"),
        ({"identity_token": "x"}, "request.unsupported token_unused"),
    ],
)
def test_options_that_would_change_the_meaning_are_refused(
    client: Client, sbom: dict[str, Any], option: dict[str, Any], expected: str
) -> None:
    answer = client.error("sign.dsse", {**sbom, "options": option})
    assert f"{answer['code']} {answer['details']['reason']}" == expected


def test_cancel(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    client.put({"type": "cancel", "id": 99})  # of an unknown id: ignored
    sealer = daemon.child("sealer")
    os.kill(sealer, signal.SIGSTOP)
    request_id = client.ask("sign.dsse", sbom)
    kept = client.ask("sign.dsse", sbom)
    client.put({"type": "cancel", "id": request_id})
    answer = client.take()
    os.kill(sealer, signal.SIGCONT)
    assert answer is not None
    assert answer["id"] == request_id
    assert answer["code"] == "request.cancelled"
    after = client.take()
    assert after is not None
    assert (after["id"], after["type"]) == (kept, "response")
    client.put({"type": "cancel", "id": kept})  # it is over: ignored as well
    assert client.result("daemon.health", {})["ready"] is True
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))


# ---- signals


def test_a_drain_says_goaway_answers_what_is_in_flight_and_ends_with_0(
    daemon_factory: Callable[..., Running], sbom: dict[str, Any]
) -> None:
    daemon = daemon_factory()
    sealer = daemon.child("sealer")
    with Client(daemon.socket) as client, Client(daemon.socket) as unread, Client(daemon.socket) as silent:
        client.greet()
        unread.greet()
        os.kill(sealer, signal.SIGSTOP)
        asked = [client.ask("sign.dsse", sbom) for _ in range(3)]
        os.kill(daemon.pid, signal.SIGTERM)
        goaway = client.take()
        assert goaway is not None
        assert goaway["type"] == "goaway"
        refused = client.error("sign.dsse", sbom)
        assert (refused["code"], refused["retryable"]) == ("daemon.draining", True)
        assert not daemon.socket.exists()
        os.kill(daemon.pid, signal.SIGTERM)  # once more: it ends no sooner
        os.kill(sealer, signal.SIGCONT)
        answers = [client.take() for _ in asked]
        assert [answer["type"] for answer in answers if answer] == ["response"] * 3
        assert client.take() is None
        assert silent.take() is None
    until(lambda: daemon.status is not None)
    assert daemon.status == 0
    assert not daemon.socket.exists()
    assert [found for found in records(daemon).values() if "signed" in found] == [["signed"]] * 3
    assert all(len(found) == 1 for found in records(daemon).values())


def test_one_that_does_not_read_does_not_hold_up_the_end(daemon_factory: Callable[..., Running]) -> None:
    daemon = daemon_factory()
    with Client(daemon.socket) as client:
        client.greet()
        fill(client)
        began = time.monotonic()
        assert daemon.terminate() == 0
        assert time.monotonic() - began < 10


def test_a_reload_drops_no_connection(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    with honest(daemon, sbom):
        for _ in range(5):
            os.kill(daemon.pid, signal.SIGHUP)
            assert client.result("sign.dsse", sbom)["bundles"]
    assert daemon.status is None


def test_the_daemon_has_said_nothing_of_a_defect(daemon: Running, connect: Connect) -> None:
    """After all of the above, by the same process."""
    assert connect().greet() is not None
    assert "defect" not in daemon.said
    assert "Traceback" not in daemon.said
