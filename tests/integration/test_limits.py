"""Each limit of the configuration, crossed by one; what is just within it is served."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running.client import ARTEFACT, Client, ended, frame, memfd
from running.configured import configuration, records, until
from running.daemon import Running, running

LIMITS = {
    "in_flight": 3,
    "inline_bytes": 2048,
    "payload_bytes": 4096,
    "batch_items": 2,
    "subjects": 3,
    "digests": 1,
    "connections_per_uid": 4,
    "longest_deadline_s": 0.4,
    "request_deadline_s": 0.4,
    "hello_timeout_s": 0.3,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon whose limits are small."""
    base = tmp_path_factory.mktemp("limits")
    with running(base, config=configuration(base, LIMITS)) as started:
        yield started


def padded(size: int) -> bytes:
    """A document of exactly ``size`` bytes."""
    document = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"properties":[{"name":"%s"}]}}'
    return document % (b"x" * (size - len(document) + 2))


def refused(answer: dict[str, Any], code: str, reason: str) -> dict[str, Any]:
    assert (answer["code"], answer["details"]["reason"]) == (code, reason)
    details: dict[str, Any] = answer["details"]
    return details


def test_the_hello_tells_the_limits(connect: Callable[[], Client]) -> None:
    hello = connect().greet()
    assert hello is not None
    assert hello["limits"] == {
        "frame_bytes": 4 << 20,
        "inline_bytes": 2048,
        "payload_bytes": 4096,
        "in_flight": 3,
        "batch_items": 2,
        "subjects": 3,
        "digests": 1,
        "descriptors": 64,
        "deadline_ms": 400,
    }


def test_requests_in_flight(client: Client, sbom: dict[str, Any]) -> None:
    asked = [{"type": "request", "id": number, "method": "sign.dsse", "params": sbom} for number in range(1, 5)]
    # One write, so that all four are read before any of them can be answered.
    client.socket.sendall(b"".join(map(frame, asked)))
    answers = {answer["id"]: answer for answer in (client.take() for _ in asked) if answer}
    details = refused(answers[4], "daemon.overloaded", "in_flight")
    assert details
    assert answers[4]["retryable"] is True
    assert [answers[number]["type"] for number in (1, 2, 3)] == ["response"] * 3
    client.last_id = 9
    assert client.result("sign.dsse", sbom)["bundles"]


def test_bytes_of_an_inline_predicate(client: Client, sbom: dict[str, Any]) -> None:
    assert client.result("sign.dsse", {**sbom, "predicate": padded(2048)})["bundles"]
    answer = client.error("sign.dsse", {**sbom, "predicate": padded(2049)})
    assert refused(answer, "request.too_large", "inline_too_large")["limit"] == 2048


def test_bytes_of_a_predicate_by_descriptor(client: Client, sbom: dict[str, Any]) -> None:
    for size in (4096, 4097):
        document = memfd(padded(size))
        answer = client.call("sign.dsse", {**sbom, "predicate": {"fd": 0, "size": size}}, [document])
        os.close(document)
        if size == 4096:
            assert answer["type"] == "response"
        else:
            assert answer["code"] == "request.too_large"


def test_items_of_a_batch(client: Client, sbom: dict[str, Any]) -> None:
    assert len(client.result("sign.batch", {"items": [sbom] * 2})["outcomes"]) == 2
    answer = client.error("sign.batch", {"items": [sbom] * 3})
    assert refused(answer, "request.too_large", "batch_items")["limit"] == 2
    refused(client.error("sign.batch", {"items": []}), "request.malformed", "batch_items")


def test_subjects_of_a_statement(client: Client, sbom: dict[str, Any]) -> None:
    subjects = [
        {"name": f"a{number}", "digest": {"sha256": hashlib.sha256(b"%d" % number).hexdigest()}} for number in range(4)
    ]
    assert client.result("sign.dsse", {**sbom, "subject": subjects[:3]})["bundles"]
    refused(client.error("sign.dsse", {**sbom, "subject": subjects}), "statement.invalid", "too_many_subjects")


def test_digests_of_a_subject(client: Client, sbom: dict[str, Any]) -> None:
    digest = {"sha256": ARTEFACT, "sha512": "0" * 128}
    answer = client.error("sign.dsse", {**sbom, "subject": [{"name": "a", "digest": digest}]})
    refused(answer, "statement.invalid", "too_many_digests")


def test_connections_of_a_uid(daemon: Running, connect: Callable[[], Client]) -> None:
    held = [connect() for _ in range(4)]
    assert all(client.greet() for client in held)
    one_more = connect()
    refused(ended(one_more), "daemon.overloaded", "connections")
    assert held[0].result("daemon.health", {})["ready"] is True
    for client in held:
        client.socket.close()

    def let_in() -> bool:
        with Client(daemon.socket) as again:
            return "nonce" in (again.greet() or {})

    until(let_in)  # their places are free again, as soon as the daemon has seen them go


def test_a_deadline_above_the_longest_is_lowered(daemon: Running, client: Client, sbom: dict[str, Any]) -> None:
    known = set(records(daemon))
    sealer = daemon.child("sealer")
    os.kill(sealer, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = client.error("sign.dsse", sbom, deadline_ms=10**9)
        took = time.monotonic() - began
    finally:
        os.kill(sealer, signal.SIGCONT)
    assert answer["code"] == "request.deadline"
    assert answer["retryable"] is True
    assert 0.35 <= took < 3
    # The sealer may have made the signature before it heard that nobody waits any more.
    ends = (["fault"], ["signed_undelivered"])
    until(lambda: any(found in ends for audit_id, found in records(daemon).items() if audit_id not in known))


@pytest.mark.parametrize("deadline", [0, -1])
def test_a_deadline_without_time_in_it(client: Client, deadline: int) -> None:
    answer = client.error("daemon.health", {}, deadline_ms=deadline)
    assert refused(answer, "request.malformed", "out_of_range")["field"] == "deadline_ms"
    assert client.result("daemon.health", {})["ready"] is True


@pytest.mark.parametrize("dribble", [False, True])
def test_no_hello_in_time(connect: Callable[[], Client], dribble: bool) -> None:
    client = connect()
    if dribble:
        hello = frame({"type": "hello", "versions": [1], "software": "slow"})
        for byte in hello[:-1]:
            client.socket.sendall(bytes([byte]))
    began = time.monotonic()
    refused(ended(client), "request.malformed", "hello_timeout")
    assert time.monotonic() - began < 5


def test_a_frame_before_hello(connect: Callable[[], Client]) -> None:
    within = frame({"type": "hello", "versions": [1], "software": "x", "padding": ""})
    padding = "x" * ((1 << 20) - len(within) + 4 - 4)
    within = frame({"type": "hello", "versions": [1], "software": "x", "padding": padding})
    assert len(within) - 4 == 1 << 20
    client = connect()
    client.socket.sendall(within)
    assert (client.take() or {})["type"] == "hello"
    other = connect()
    other.socket.sendall(((1 << 20) + 1).to_bytes(4, "big"))
    assert refused(ended(other), "request.too_large", "frame_too_large")["limit"] == 1 << 20


def test_a_frame_after_hello(client: Client, connect: Callable[[], Client]) -> None:
    message = {"type": "request", "id": 1, "method": "daemon.health", "params": {}, "padding": b""}
    message["padding"] = b"x" * ((4 << 20) - len(frame({**message, "padding": b"x" * 65536})) + 65536 + 4)
    whole = frame(message)
    assert len(whole) - 4 == 4 << 20
    client.socket.sendall(whole)
    assert (client.take() or {})["result"]["ready"] is True
    client.socket.sendall(((4 << 20) + 1).to_bytes(4, "big"))
    refused(ended(client), "request.too_large", "frame_too_large")


def test_descriptors_of_a_frame(client: Client, connect: Callable[[], Client], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    with file.open("rb") as opened:
        surplus = [opened.fileno()] * 64
        answer = client.error("daemon.health", {}, surplus)
        refused(answer, "request.malformed", "descriptor_surplus")
        client.ask("daemon.health", {}, [*surplus, opened.fileno()])
    refused(ended(client), "request.malformed", "descriptors_cut_off")


@pytest.mark.skipif(os.geteuid() != 0, reason="callers of two uids need root to be started")
def test_connections_in_all(daemon_factory: Callable[..., Running]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        base.chmod(0o711)
        (base / "run").mkdir(mode=0o755)
        limits = {"connections": 3, "connections_per_uid": 2}
        config = configuration(base, limits, sign="mode = 0o666")
        config = config.replace("[plugins.auth-peercred]", "[plugins.auth-peercred]\nuids = [0, 4242]")
        daemon = daemon_factory(base, config=config)
        with Client(daemon.socket) as first, Client(daemon.socket) as second:
            assert first.greet()
            assert second.greet()
            command = [sys.executable, "-c", TWO_CONNECTIONS, str(daemon.socket)]
            stranger = subprocess.run(command, capture_output=True, check=False, timeout=20)
        daemon.close()
    assert stranger.returncode == 0, stranger.stderr
    assert json.loads(stranger.stdout) == ["hello", "connections"]


TWO_CONNECTIONS = r"""
import json, os, socket, struct, sys
os.setgid(4242)
os.setuid(4242)
body = b"\x83\xa4type\xa5hello\xa8versions\x91\x01\xa8software\xa4test"
said = []
kept = []
for number in range(2):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    if number == 0:
        connection.sendall(struct.pack(">I", len(body)) + body)
    answer = connection.recv(65536)
    said.append(next(word for word in ("connections", "hello") if word.encode() in answer))
    kept.append(connection)
print(json.dumps(said))
"""


def test_uids_that_are_let_in(daemon_factory: Callable[..., Running], tmp_path: Path) -> None:
    others = configuration(tmp_path, {}, sign=f"uids = [{os.geteuid() + 1}]")
    daemon = daemon_factory(tmp_path, config=others)
    with Client(daemon.socket) as client:
        refused(ended(client), "auth.peer_denied", "uid_not_let_in")
