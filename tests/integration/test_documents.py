"""Large documents: signed to the same bytes as small ones, one at a time in a process that may die of one."""

import base64
import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from running.client import SBOM, Client, Connect, memfd, verified
from running.configured import memory_kib, open_descriptors, records, stopped, until
from running.daemon import Running
from running.large import large_sbom, statement_of

MIB = 1 << 20


def content(client: Client, value: bytes | dict[str, int]) -> bytes:
    """A bin of a result, inline or by descriptor; a descriptor must be a memfd that can change no more."""
    if isinstance(value, bytes):
        return value
    descriptor = client.descriptors[value["fd"]]
    assert os.fstat(descriptor).st_size == value["size"]
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & 0xE == 0xE
    return os.pread(descriptor, value["size"], 0)


@pytest.fixture
def by_fd(sbom: dict[str, Any]) -> dict[str, Any]:
    return {**sbom, "predicate": {"fd": 0, "size": len(SBOM)}}


@pytest.fixture
def document() -> Iterator[int]:
    descriptor = memfd(SBOM)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def worker(daemon: Running, client: Client, by_fd: dict[str, Any], document: int) -> int:
    """The document worker's pid; it has been started and is idle."""
    assert client.result("sign.dsse", by_fd, [document])["bundles"]
    return daemon.child("document")


@pytest.mark.parametrize("size", [300_000, 5 * MIB])
@pytest.mark.parametrize("include", [[], ["envelope"]])
def test_a_large_document_is_signed_to_the_reference_bytes(
    connect: Connect, sbom: dict[str, Any], size: int, include: list[str]
) -> None:
    client = connect()
    client.greet()
    text = large_sbom(size)
    params = {**sbom, "options": {"include": include}}
    if size < MIB:
        result = client.result("sign.dsse", {**params, "predicate": text})
        assert isinstance(result["bundles"][0], bytes), "it is below inline_max"
    else:
        descriptor = memfd(text)
        result = client.result("sign.dsse", {**params, "predicate": {"fd": 0, "size": len(text)}}, [descriptor])
        os.close(descriptor)
        assert result["bundles"][0]["size"] > size
    bundle = content(client, result["bundles"][0])
    spki = client.result("keys.describe", {"key": "file:default"})["spki"]
    assert verified(bundle, spki)["predicate"] == json.loads(text)
    payload = base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])
    assert payload == statement_of(text)
    assert result["statement_sha256"] == hashlib.sha256(payload).hexdigest()
    assert result["predicate_sha256"] == hashlib.sha256(text).hexdigest()
    assert result["bundle_sha256"] == [hashlib.sha256(bundle).hexdigest()]
    if include:
        envelope = json.loads(content(client, result["envelope"]))
        assert base64.b64decode(envelope["payload"]) == payload


def test_what_is_above_the_clients_inline_max_comes_as_a_sealed_memfd(connect: Connect, sbom: dict[str, Any]) -> None:
    text = large_sbom(300_000)
    bundles = []
    for inline_max in (100_000, 4 * MIB):
        client = connect()
        client.greet(inline_max=inline_max)
        (bundle,) = client.result("sign.dsse", {**sbom, "predicate": text})["bundles"]
        assert isinstance(bundle, bytes) == (inline_max > len(text))
        bundles.append(content(client, bundle))
    assert bundles[0] == bundles[1]


def test_large_and_small_give_the_same_bundle(client: Client, by_fd: dict[str, Any], document: int) -> None:
    large = client.result("sign.dsse", by_fd, [document])
    small = client.result("sign.dsse", {**by_fd, "predicate": SBOM})
    assert large["bundles"] == small["bundles"]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b'{"a":1,"a":2}', b'{"bomFormat":"CycloneDX","specVersion":"0.1","version":1}'],
)
def test_a_document_that_is_not_right(client: Client, sbom: dict[str, Any], text: bytes) -> None:
    """It is refused with the very reason and pointer that it has inline."""
    inline = client.error("sign.dsse", {**sbom, "predicate": text})
    descriptor = memfd(text)
    by_fd = client.error("sign.dsse", {**sbom, "predicate": {"fd": 0, "size": len(text)}}, [descriptor])
    os.close(descriptor)
    assert inline["code"] == by_fd["code"] == "predicate.invalid"
    assert inline["details"] == by_fd["details"]


def test_a_worker_that_dies_of_a_document(
    daemon: Running, client: Client, by_fd: dict[str, Any], document: int, worker: int
) -> None:
    before = open_descriptors(daemon.pid)
    with stopped(worker):
        asked = client.ask("sign.dsse", by_fd, [document])
        queued = client.ask("sign.dsse", by_fd, [document])
        assert client.call("daemon.health", {})["result"]["ready"] is True  # so the worker has the first in hand
        os.kill(worker, signal.SIGKILL)
    answers = {answer["id"]: answer for answer in (client.take(), client.take()) if answer}
    assert answers[asked]["code"] == "internal"
    assert answers[asked]["details"]["reason"] == "document_worker"
    assert answers[asked]["retryable"] is False
    assert answers[queued]["type"] == "response", "the next one has a worker of its own"
    assert daemon.child("document", other_than=worker) != worker
    assert client.result("sign.dsse", by_fd, [document])["bundles"]
    until(lambda: open_descriptors(daemon.pid) <= before)
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))


def test_a_worker_that_died_while_idle_costs_nobody_anything(
    daemon: Running, client: Client, by_fd: dict[str, Any], document: int, worker: int
) -> None:
    with stopped(daemon.pid):
        client.ask("sign.dsse", by_fd, [document])
        os.kill(worker, signal.SIGKILL)
        until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    answer = client.take()
    assert answer is not None
    assert answer["type"] == "response"


def test_a_full_queue_is_an_overload_at_once(
    daemon: Running, client: Client, by_fd: dict[str, Any], document: int, worker: int
) -> None:
    with stopped(worker):
        asked = [client.ask("sign.dsse", by_fd, [document]) for _ in range(17)]
        refused = client.error("sign.dsse", by_fd, [document])
        assert (refused["code"], refused["details"]["reason"]) == ("daemon.overloaded", "document_queue")
        assert refused["retryable"] is True
        small = client.result("sign.dsse", {**by_fd, "predicate": SBOM})
        assert small["bundles"], "small ones go on"
    answers = [client.take() for _ in asked]
    assert [answer["type"] for answer in answers if answer] == ["response"] * 17
    assert [answer["id"] for answer in answers if answer] == asked, "first come, first served"


def test_documents_whose_caller_has_gone_leave_the_queue(
    daemon: Running, connect: Connect, client: Client, by_fd: dict[str, Any], document: int, worker: int
) -> None:
    before = open_descriptors(daemon.pid)
    with stopped(worker):
        with Client(daemon.socket) as gone:
            gone.greet()
            for _ in range(17):
                gone.ask("sign.dsse", by_fd, [document])
            assert gone.call("daemon.health", {})["result"]["ready"] is True
        until(lambda: open_descriptors(daemon.pid) <= before)
        late = client.error("sign.dsse", by_fd, [document], deadline_ms=150)
        assert late["code"] == "request.deadline"
        asked = client.ask("sign.dsse", by_fd, [document])
    answer = client.take()
    assert answer is not None
    assert (answer["id"], answer["type"]) == (asked, "response")
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))


def test_memory(daemon_factory: Callable[..., Running], sbom: dict[str, Any]) -> None:
    """None of a document in the front end; sealer and worker together within twelve times its size."""
    daemon = daemon_factory()
    text = large_sbom(10 * MIB)
    with Client(daemon.socket) as client:
        client.greet()
        assert client.result("sign.dsse", {**sbom, "predicate": large_sbom(300_000)})["bundles"]
        roles = {
            "front": daemon.pid,
            "sealer": daemon.child("sealer"),
            "document": daemon.child("document"),
            "key": daemon.child("key"),
        }
        before = {role: memory_kib(pid, "VmHWM") for role, pid in roles.items()}
        descriptor = memfd(text)
        params = {**sbom, "predicate": {"fd": 0, "size": len(text)}}
        result = client.result("sign.dsse", params, [descriptor])
        os.close(descriptor)
        assert result["bundles"][0]["size"] > len(text)
        grown = {role: memory_kib(pid, "VmHWM") - before[role] for role, pid in roles.items()}
    size = len(text) / 1024
    assert grown["front"] < size / 10
    assert grown["key"] < size / 10
    assert grown["sealer"] + grown["document"] <= 12 * size, grown


def test_nothing_was_a_defect(daemon: Running) -> None:
    assert "defect" not in daemon.said
    assert "Traceback" not in daemon.said
