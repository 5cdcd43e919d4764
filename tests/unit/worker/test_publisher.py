"""The publisher as a process, over its link, with a log of the tests' own behind it."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from fakes.http_double import Reply
from fakes.links import Peer
from fakes.publishers import AuthorityDouble, LogDouble
from fakes.sigstore import new_key, spki
from signerd.attestation.log_entry import parse_log_entry
from signerd.wire.messages import Cancel

MODULE = "signerd.worker.publisher"
KEY = new_key()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogDouble]:
    made = LogDouble(tmp_path, others=2)
    yield made
    made.server.close()


def settings(log: LogDouble, **changes: object) -> dict[str, object]:
    return {"plugin": "log-rekor", "name": "rekor", "kind": "log", "call_s": 5.0, "settings": log.settings(), **changes}


@pytest.fixture
def publisher(log: LogDouble) -> Iterator[Peer]:
    peer = Peer(MODULE, settings(log))
    yield peer
    peer.close()


def submission(message: bytes = b"m") -> dict[str, bytes]:
    signature = KEY.sign(message, ec.ECDSA(SHA256()))
    return {"payload_digest": sha256(message).digest(), "signature": signature, "verifier": spki(KEY)}


def call(number: int) -> dict[str, Any]:
    return {"method": "submit", "params": submission(b"%d" % number)}


def test_it_says_what_it_serves_and_brings_the_entry(publisher: Peer) -> None:
    hello = publisher.hello()
    assert (hello["version"], hello["methods"]) == (1, ["submit", "batch", "find"])
    assert parse_log_entry(publisher.ask("submit", submission())["result"]["proof"]).log_index == 2


def test_it_finds_what_the_log_has(log: LogDouble, publisher: Peer) -> None:
    publisher.hello()
    given = submission()
    publisher.ask("submit", given)
    found = publisher.ask("find", {"payload_digest": given["payload_digest"]})["result"]
    assert [parse_log_entry(proof).log_index for proof in found["proofs"]] == [2]
    assert (found["first"], found["size"]) == (0, 3)
    assert publisher.ask("find", {"payload_digest": bytes(32)})["result"]["proofs"] == []
    assert publisher.ask("find", {})["code"] == "request.malformed"
    log.say = lambda asked: Reply(500)
    assert publisher.ask("find", {"payload_digest": bytes(32)})["code"] == "transparency.unavailable"


def test_an_authority_cannot_look(tmp_path: Path) -> None:
    double = AuthorityDouble(tmp_path)
    asked = {"plugin": "stamp-rfc3161", "name": "tsa", "kind": "stamp", "call_s": 5.0, "settings": double.settings()}
    peer = Peer(MODULE, asked)
    try:
        assert peer.hello()["methods"] == ["submit", "batch"]
        assert peer.ask("find", {"payload_digest": bytes(32)})["code"] == "request.unsupported"
    finally:
        peer.close()
        double.server.close()


def test_calls_of_a_batch_run_side_by_side_and_fail_alone(publisher: Peer) -> None:
    publisher.hello()
    other = {"method": "describe", "params": {"key": "x"}}
    short = {"method": "submit", "params": {"signature": b""}}
    outcomes = publisher.ask("batch", {"items": [call(1), other, short, call(2)]})["result"]["outcomes"]
    assert [sorted(outcome) for outcome in outcomes] == [["ok"], ["error"], ["error"], ["ok"]]
    assert [outcome["error"]["code"] for outcome in outcomes[1:3]] == ["request.unsupported", "request.malformed"]


def test_what_is_slow_holds_nobody_up(log: LogDouble, publisher: Peer) -> None:
    publisher.hello()
    slow = submission(b"slow")
    log.say = lambda asked: Reply(behaviour="silent") if slow["signature"].hex() in _hex(asked.body) else None
    for number, params in enumerate((slow, submission(b"quick")), 1):
        body = msgspec.msgpack.encode({"type": "request", "id": number, "method": "submit", "params": params})
        publisher.send_bytes(len(body).to_bytes(4, "big") + body)
    first, _ = publisher.receive()
    assert (first["type"], first["id"]) == ("response", 2)
    second, _ = publisher.receive()
    assert (second["type"], second["id"], second["code"]) == ("error", 1, "transparency.unavailable")


def _hex(body: bytes) -> str:
    import base64
    import json

    content = json.loads(body)["hashedRekordRequestV002"]["signature"]["content"] if body else ""
    return base64.b64decode(content).hex()


def test_a_log_that_lies_is_told_as_unavailable(log: LogDouble, publisher: Peer) -> None:
    publisher.hello()
    log.say = lambda asked: Reply(201, b"<html>")
    answer = publisher.ask("submit", submission())
    assert (answer["type"], answer["code"], answer["details"]["reason"]) == (
        "error", "transparency.unavailable", "log_answer",
    )  # fmt: skip
    assert "html" not in answer["message"]


@pytest.mark.parametrize("frame", [b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x90\x90"])
def test_what_is_no_message_ends_it(frame: bytes, publisher: Peer) -> None:
    publisher.hello()
    publisher.send_bytes(frame)
    assert publisher.receive()[0]["type"] == "error"
    assert publisher.status() == 0


def test_a_call_before_the_hello_ends_it(publisher: Peer) -> None:
    body = msgspec.msgpack.encode({"type": "request", "id": 1, "method": "submit", "params": {}})
    publisher.send_bytes(len(body).to_bytes(4, "big") + body)
    assert publisher.receive()[0]["code"] == "request.malformed"
    assert publisher.status() == 0


def test_a_descriptor_ends_it(publisher: Peer) -> None:
    publisher.hello()
    fd = os.memfd_create("x")
    try:
        body = msgspec.msgpack.encode({"type": "request", "id": 1, "method": "submit", "params": submission()})
        publisher.send_bytes(len(body).to_bytes(4, "big") + body, [fd])
    finally:
        os.close(fd)
    assert publisher.status() == 0


def test_a_cancel_is_news_only(publisher: Peer) -> None:
    publisher.hello()
    publisher.send(Cancel(7))
    assert publisher.ask("submit", submission())["type"] == "response"


@pytest.mark.parametrize(
    "change", [{"kind": "stamp"}, {"plugin": "file"}, {"settings": {}}, {"version": "9"}, {"surprise": 1}]
)
def test_it_does_not_start_with_what_it_was_not_told(change: dict[str, object], log: LogDouble) -> None:
    peer = Peer(MODULE, settings(log, **change))
    try:
        assert peer.status() == 2
    finally:
        peer.close()


def test_it_ends_with_its_link_whatever_is_under_way(log: LogDouble) -> None:
    log.say = lambda asked: Reply(behaviour="silent")
    peer = Peer(MODULE, settings(log, call_s=60.0))
    peer.hello()
    body = msgspec.msgpack.encode({"type": "request", "id": 1, "method": "submit", "params": submission()})
    peer.send_bytes(len(body).to_bytes(4, "big") + body)
    peer.link.close()
    assert peer.status() == 0
    peer.close()
