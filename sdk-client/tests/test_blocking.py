import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd.errors import Fault, Refusal
from signerd.wire.messages import Cancel, Error, Goaway, Limits, Request
from signerd_client.blocking import Signer
from signerd_client.descriptors import sealed_memfd
from signerd_client.requests import PayloadRequest, SignRequest
from signerd_client.subjects import Subject, SubjectFile, open_file

Answering = Callable[..., Path]
Serving = Callable[[Callable[[socket.socket], None]], Path]
Respond = Callable[..., Any]

HEALTHY = {"ready": True, "checks": [{"name": "audit", "ok": True}]}
REQUEST = SignRequest(
    subject=[Subject("a", {"sha256": "ab" * 32})], predicate_type="cyclonedx", predicate=b"{}"
)


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd_client.session.GRACE_S", 0.0)


def test_results_are_typed_and_hello_is_there(answering: Answering, respond: Respond) -> None:
    with Signer.connect(answering(lambda request, _: [respond(request, HEALTHY)])) as signer:
        assert signer.hello.profiles == ("cosign",)
        assert signer.health().ready
        assert signer.health(deadline_s=3).checks[0].name == "audit"


def test_refusals_and_unknown_codes_are_raised_and_the_session_stays(
    answering: Answering, respond: Respond
) -> None:
    answers = iter(["key.not_found", "from.the.future"])

    def handler(request: Any, _: object) -> list[Any]:
        code = next(answers, None)
        if code is None:
            return [respond(request, HEALTHY)]
        return [Error(code, "no\x1b", False, request.id, details={"reason": "because"})]

    with Signer.connect(answering(handler)) as signer:
        with pytest.raises(Refusal) as refused:
            signer.describe("file:other")
        assert (refused.value.code, refused.value.reason) == ("key.not_found", "because")
        with pytest.raises(Fault) as fault:
            signer.keys()
        assert (fault.value.code, fault.value.reason) == ("internal", "unknown_code")
        assert signer.health().ready


def test_large_values_go_and_come_by_descriptor(
    answering: Answering, respond: Respond, limits: Limits, sign_result: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"subject")
    predicate = b"p" * (limits.inline_bytes + 1)

    def handler(request: Any, descriptors: tuple[int, ...]) -> list[Any]:
        params = msgspec.msgpack.decode(request.params)
        named = params["predicate"]
        assert os.pread(descriptors[named["fd"]], named["size"] + 1, 0) == predicate
        assert os.pread(descriptors[params["subject"][0]["fd"]], 99, 0) == b"subject"
        for descriptor in descriptors:
            os.close(descriptor)
        memory = sealed_memfd(b"B" * 200_000)
        return [(respond(request, sign_result({"fd": 0, "size": 200_000})), [memory])]

    descriptor = open_file(tmp_path / "f")
    request = SignRequest(subject=[SubjectFile("f", descriptor)], predicate_type="t", predicate=predicate)
    with Signer.connect(answering(handler)) as signer:
        before = set(os.listdir("/proc/self/fd"))
        assert signer.sign_dsse(request).bundles == (b"B" * 200_000,)
        # One more is the double's own memfd, which lives in this process too.
        assert len(set(os.listdir("/proc/self/fd")) - before) <= 1
    os.close(descriptor)


def test_a_bare_document_is_signed(answering: Answering, respond: Respond, sign_result: Callable[..., Any]) -> None:
    def handler(request: Any, _: object) -> list[Any]:
        assert request.method == "sign.payload"
        assert msgspec.msgpack.decode(request.params) == {"payload_type": "a/b", "payload": b"{}"}
        return [respond(request, sign_result(envelope=b"e"))]

    with Signer.connect(answering(handler)) as signer:
        signed = signer.sign_payload(PayloadRequest(payload_type="a/b", payload=b"{}"), deadline_s=3)
    assert signed.envelope == b"e"


def test_a_batch_has_an_outcome_for_each_whatever_becomes_of_a_request(
    answering: Answering, respond: Respond, sign_result: Callable[..., Any]
) -> None:
    calls: list[int] = []

    def handler(request: Any, _: object) -> list[Any]:
        items = len(msgspec.msgpack.decode(request.params)["items"])
        calls.append(items)
        if len(calls) == 2:
            return [Error("daemon.overloaded", "busy", True, request.id, details={"reason": "in_flight"})]
        return [respond(request, {"outcomes": [{"index": i, "ok": sign_result()} for i in range(items)]})]

    with Signer.connect(answering(handler)) as signer:
        outcomes = signer.sign_batch([REQUEST] * 7)
    assert calls == [3, 3, 1]
    assert [outcome.index for outcome in outcomes] == list(range(7))
    assert [outcome.signed is not None for outcome in outcomes] == [True] * 3 + [False] * 3 + [True]
    assert outcomes[3].error is not None
    assert outcomes[3].error.code == "daemon.overloaded"


@pytest.mark.usefixtures("no_grace")
def test_a_silent_daemon_costs_the_deadline_and_the_request_is_cancelled(
    answering: Answering, respond: Respond
) -> None:
    seen: list[Request | Cancel] = []

    def handler(event: Any, _: object) -> list[Any]:
        seen.append(event)
        if isinstance(event, Cancel):
            return [Error("request.cancelled", "", False, event.id, details={"reason": "cancelled"})]
        return [] if len(seen) == 1 else [respond(event, HEALTHY)]

    with Signer.connect(answering(handler)) as signer:
        started = time.monotonic()
        with pytest.raises(Fault) as caught:
            signer.health(deadline_s=0.1)
        assert (caught.value.code, caught.value.reason) == ("request.deadline", "no_answer")
        assert time.monotonic() - started < 5
        assert signer.health().ready
    assert [type(event) for event in seen] == [Request, Cancel, Request]
    assert seen[0].id == seen[1].id


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT is KeyboardInterrupt: a shell's background jobs inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_and_the_session_stays(answering: Answering, respond: Respond) -> None:
    cancelled = threading.Event()
    asked = threading.Event()

    def handler(event: Any, _: object) -> list[Any]:
        if isinstance(event, Cancel):
            cancelled.set()
            return [Error("request.cancelled", "", False, event.id, details={"reason": "cancelled"})]
        if not asked.is_set():
            asked.set()
            # Long enough for the client to have nothing to do but wait.
            time.sleep(0.2)
            # To the main thread: a signal to the process may be taken by any.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return []
        return [respond(event, HEALTHY)]

    with Signer.connect(answering(handler)) as signer:
        with pytest.raises(KeyboardInterrupt):
            signer.health()
        assert signer.health().ready
    assert cancelled.is_set()


def test_an_interrupt_in_the_middle_of_work_ends_the_session(
    answering: Answering, respond: Respond, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    with Signer.connect(answering(lambda request, _: [respond(request, HEALTHY)])) as signer:
        monkeypatch.setattr(signer._channel, "flush", interrupted)
        with pytest.raises(KeyboardInterrupt):
            signer.health()
        with pytest.raises(Fault) as caught:
            signer.health()
    assert (caught.value.code, caught.value.reason) == ("request.cancelled", "interrupted")


def silent(connected: socket.socket) -> None:
    while connected.recv(1 << 16):
        pass


def garbage(connected: socket.socket) -> None:
    connected.recv(1)
    connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    silent(connected)


def gone(connected: socket.socket) -> None:
    connected.recv(1)


def half_a_frame(connected: socket.socket) -> None:
    connected.recv(1)
    connected.sendall(b"\0\0\1\0\x81")
    connected.shutdown(socket.SHUT_WR)
    silent(connected)


def oversize(connected: socket.socket) -> None:
    connected.recv(1)
    connected.sendall(b"\xff\xff\xff\xff")
    silent(connected)


@pytest.mark.parametrize(
    ("serve", "code", "reason"),
    [
        (silent, "request.deadline", "no_hello"),
        (garbage, "internal", "protocol"),
        (oversize, "internal", "protocol"),
        (gone, "daemon.draining", "connection_lost"),
        (half_a_frame, "daemon.draining", "connection_lost"),
    ],
)
def test_what_is_no_daemon_is_a_typed_error_and_leaves_nothing_open(
    serving: Serving, serve: Callable[[socket.socket], None], code: str, reason: str
) -> None:
    path = serving(serve)
    with pytest.raises(Fault) as caught:
        Signer.connect(path, timeout_s=0.2)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_an_answer_byte_by_byte_is_an_answer(answering: Answering, respond: Respond) -> None:
    def handler(request: Any, _: object) -> Any:
        from signerd.wire.frames import encode_frame

        for byte in encode_frame(respond(request, HEALTHY)):
            yield bytes([byte])

    with Signer.connect(answering(handler)) as signer:
        assert signer.health().ready


def test_garbage_after_the_hello_fails_the_request_and_all_later_ones(answering: Answering) -> None:
    with Signer.connect(answering(lambda _r, _d: [b"\0\0\0\1\xc1"])) as signer:
        for _ in range(2):
            with pytest.raises(Fault) as caught:
                signer.health()
            assert (caught.value.code, caught.value.reason) == ("internal", "protocol")


def test_a_draining_daemon_is_told_of(answering: Answering, respond: Respond) -> None:
    def handler(request: Any, _: object) -> list[Any]:
        return [Goaway("draining"), respond(request, HEALTHY)]

    with Signer.connect(answering(handler)) as signer:
        assert signer.health().ready
        with pytest.raises(Fault) as caught:
            signer.health()
    assert caught.value.reason == "goaway"
    assert caught.value.retryable


def test_threads_may_share_a_session(answering: Answering, respond: Respond) -> None:
    wrong: list[object] = []
    with Signer.connect(answering(lambda request, _: [respond(request, HEALTHY)])) as signer:

        def ask() -> None:
            wrong.extend(answer for _ in range(20) if not (answer := signer.health()).ready)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert signer._session._last_id == 80


def test_nobody_listens_is_retryable(socket_directory: Path) -> None:
    with pytest.raises(Fault) as caught:
        Signer.connect(socket_directory / "absent")
    assert caught.value.reason == "unreachable"
    assert caught.value.retryable
