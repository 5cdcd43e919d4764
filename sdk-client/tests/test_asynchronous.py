import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from signerd.errors import Fault, Refusal
from signerd.wire.messages import Cancel, Error, Limits, Request
from signerd_client.asynchronous import AsyncSigner
from signerd_client.descriptors import sealed_memfd
from signerd_client.requests import PayloadRequest, SignRequest
from signerd_client.subjects import Subject

Answering = Callable[..., Path]
Respond = Callable[..., Any]
Run = Callable[[Callable[[], Awaitable[None]]], None]

HEALTHY = {"ready": True, "checks": []}
REQUEST = SignRequest(
    subject=[Subject("a", {"sha256": "ab" * 32})], predicate_type="cyclonedx", predicate=b"{}"
)


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function, on each of the two event loops in turn."""

    def go(function: Callable[[], Awaitable[None]]) -> None:
        anyio.run(function, backend=request.param)

    return go


def test_many_requests_are_in_flight_and_answered_in_any_order(
    run: Run, answering: Answering, respond: Respond
) -> None:
    waiting: list[Request] = []

    def handler(request: Any, _: object) -> list[Any]:
        waiting.append(request)
        if len(waiting) < 3:
            return []
        answers = [
            respond(asked, {"keys": [{"key": asked.method, "keyid": "", "algorithm": "", "status": ""}]})
            if asked.method == "keys.list"
            else respond(asked, HEALTHY)
            for asked in reversed(waiting)
        ]
        waiting.clear()
        return answers

    async def main() -> None:
        got: list[object] = []

        async def ask(method: Callable[[], Awaitable[object]]) -> None:
            got.append(await method())

        async with AsyncSigner.connect(path) as signer, anyio.create_task_group() as tasks:
            assert signer.hello.version == 1
            for method in (signer.health, signer.keys, signer.health):
                tasks.start_soon(ask, method)
        assert sorted(type(value).__name__ for value in got) == ["DaemonHealth", "DaemonHealth", "KeyList"]

    path = answering(handler)
    run(main)


def test_a_bare_document_is_signed(
    run: Run, answering: Answering, respond: Respond, sign_result: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncSigner.connect(path) as signer:
            signed = await signer.sign_payload(PayloadRequest(payload_type="a/b", payload=b"{}"))
        assert signed.envelope == b"e"

    path = answering(lambda request, _: [respond(request, sign_result(envelope=b"e"))])
    run(main)


def test_no_more_than_the_daemon_takes_are_in_flight(
    run: Run, answering: Answering, respond: Respond, limits: Limits
) -> None:
    waiting: list[Request] = []
    most = 0

    def handler(request: Any, _: object) -> list[Any]:
        nonlocal most
        waiting.append(request)
        most = max(most, len(waiting))
        if len(waiting) < limits.in_flight:
            return []
        answers = [respond(asked, HEALTHY) for asked in waiting]
        waiting.clear()
        return answers

    async def main() -> None:
        async with AsyncSigner.connect(path) as signer, anyio.create_task_group() as tasks:
            for _ in range(limits.in_flight * 5):
                tasks.start_soon(signer.health)

    path = answering(handler)
    run(main)
    assert most == limits.in_flight


def test_a_cancelled_task_cancels_its_request_alone(run: Run, answering: Answering, respond: Respond) -> None:
    seen: list[Request | Cancel] = []

    def handler(event: Any, _: object) -> list[Any]:
        seen.append(event)
        if isinstance(event, Cancel):
            return [Error("request.cancelled", "", False, event.id, details={"reason": "cancelled"})]
        return [] if event.method == "keys.list" else [respond(event, HEALTHY)]

    async def main() -> None:
        async with AsyncSigner.connect(path) as signer:
            for _ in range(10):
                with anyio.move_on_after(0.02) as scope:
                    await signer.keys()
                assert scope.cancelled_caught
            assert (await signer.health()).ready

    path = answering(handler)
    run(main)
    asked = [event.id for event in seen if isinstance(event, Request)]
    assert [event.id for event in seen if isinstance(event, Cancel)] == asked[:-1]


def test_a_deadline_is_kept_and_the_request_cancelled(
    run: Run, answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signerd_client.session.GRACE_S", 0.0)
    seen: list[object] = []

    def handler(event: Any, _: object) -> list[Any]:
        seen.append(event)
        return []

    async def main() -> None:
        async with AsyncSigner.connect(path) as signer:
            with pytest.raises(Fault) as caught:
                await signer.info(deadline_s=0.05)
            assert (caught.value.code, caught.value.reason) == ("request.deadline", "no_answer")
            with anyio.fail_after(5):
                while len(seen) < 2:  # noqa: ASYNC110  # the double is a thread
                    await anyio.sleep(0.01)

    path = answering(handler)
    run(main)
    assert [type(event) for event in seen] == [Request, Cancel]


def test_errors_come_out_as_they_are_and_not_in_a_group(run: Run, answering: Answering) -> None:
    async def main() -> None:
        with pytest.raises(Refusal) as caught:
            async with AsyncSigner.connect(path) as signer:
                await signer.bind()
        assert caught.value.code == "auth.required"
        with pytest.raises(ZeroDivisionError):
            async with AsyncSigner.connect(path):
                raise ZeroDivisionError

    path = answering(
        lambda event, _: [Error("auth.required", "", False, event.id, details={"reason": "unbound"})]
    )
    run(main)


def test_everybody_is_told_when_the_daemon_goes(run: Run, serving: Any, answering: Answering) -> None:
    async def main() -> None:
        told: list[str] = []

        async def ask(signer: AsyncSigner) -> None:
            try:
                await signer.health()
            except Fault as fault:
                told.append(fault.reason)

        async with AsyncSigner.connect(path) as signer:
            async with anyio.create_task_group() as tasks:
                # More than may be in flight: those that wait for a slot are told too.
                for _ in range(12):
                    tasks.start_soon(ask, signer)
            with pytest.raises(Fault):
                await signer.health()
        assert told == ["protocol"] * 12

    asked: list[object] = []

    def handler(event: Any, _: object) -> list[Any]:
        asked.append(event)
        return [b"\0\0\0\1\xc1"] if len(asked) == 4 else []

    path = answering(handler)
    run(main)


def test_a_session_that_was_left_answers_nothing(run: Run, answering: Answering) -> None:
    async def main() -> None:
        async with AsyncSigner.connect(path) as signer:
            pass
        with pytest.raises(Fault) as caught:
            await signer.health()
        assert caught.value.reason == "connection_lost"

    path = answering(lambda _e, _d: [])
    run(main)


def silent(connected: socket.socket) -> None:
    while connected.recv(1 << 16):
        pass


def gone(connected: socket.socket) -> None:
    connected.recv(1)


@pytest.mark.parametrize(("serve", "reason"), [(silent, "no_hello"), (gone, "connection_lost")])
def test_what_is_no_daemon_is_a_typed_error(
    run: Run, serving: Any, serve: Callable[[socket.socket], None], reason: str
) -> None:
    path = serving(serve)

    async def main() -> None:
        with pytest.raises(Fault) as caught:
            async with AsyncSigner.connect(path, timeout_s=0.2):
                pytest.fail("connected")
        assert caught.value.reason == reason

    run(main)


def test_large_values_go_and_come_by_descriptor(
    run: Run, answering: Answering, respond: Respond, sign_result: Callable[..., Any]
) -> None:
    predicate = os.urandom(6 << 20)

    def handler(request: Any, descriptors: tuple[int, ...]) -> list[Any]:
        named = msgspec.msgpack.decode(request.params)["predicate"]
        assert os.pread(descriptors[named["fd"]], named["size"], 0) == predicate
        os.close(descriptors[0])
        return [(respond(request, sign_result({"fd": 0, "size": 5})), [sealed_memfd(b"large")])]

    async def main() -> None:
        request = SignRequest(subject=REQUEST.subject, predicate_type="t", predicate=predicate)
        async with AsyncSigner.connect(path) as signer:
            assert (await signer.sign_dsse(request)).bundles == (b"large",)

    path = answering(handler)
    run(main)


def test_a_slow_reader_gets_large_frames_whole(
    run: Run, answering: Answering, respond: Respond, limits: Limits
) -> None:
    sizes: list[int] = []

    def handler(request: Any, _: object) -> list[Any]:
        items = msgspec.msgpack.decode(request.params)["items"]
        sizes.extend(len(item["predicate"]) for item in items)
        error = {"code": "internal", "message": "x"}
        return [respond(request, {"outcomes": [{"index": i, "error": error} for i in range(len(items))]})]

    async def main() -> None:
        large = SignRequest(subject=REQUEST.subject, predicate_type="t", predicate=b"x" * limits.inline_bytes)
        async with AsyncSigner.connect(path) as signer, anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(signer.sign_batch, [large] * 6)

    path = answering(handler)
    run(main)
    assert sizes == [limits.inline_bytes] * 48
