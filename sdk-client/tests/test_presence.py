import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from signerd.errors import Refusal, SignerdError
from signerd.wire.messages import Error
from signerd_client import Approval, AsyncSigner, Signer, SignRequest, Subject
from signerd_client.presence import Touch, approval_of

REQUEST = SignRequest(subject=[Subject("a", {"sha256": "ab" * 32})], predicate_type="cyclonedx", predicate=b"{}")


def in_s(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


def refusal(code: str = "key.presence_required", retry_after_ms: int | None = None, **details: Any) -> Refusal:
    return Refusal(code, "touch", "touch it", retry_after_ms=retry_after_ms, details=details)


def waiting(approval_id: str = "ab", seconds: float = 60, retry_after_ms: int | None = None) -> Refusal:
    details = {"approval_id": approval_id, "expires_at": in_s(seconds), "key": "fido2:alice"}
    return refusal(retry_after_ms=retry_after_ms, **details)


def test_a_refusal_names_the_approval_that_is_waited_for() -> None:
    assert approval_of(refusal(approval_id="ab", expires_at=5, key="fido2:alice")) == Approval("ab", "fido2:alice", 5)
    assert approval_of(refusal(approval_id="ab", expires_at=5)) == Approval("ab", "", 5)


@pytest.mark.parametrize(
    "error",
    [
        refusal(),
        refusal(approval_id="ab"),
        refusal(approval_id=5, expires_at=5),
        refusal("request.conflict", approval_id="ab", expires_at=5),
    ],
)
def test_any_other_is_not_waited_for(error: Refusal) -> None:
    assert approval_of(error) is None
    with pytest.raises(Refusal) as caught:
        Touch().again(REQUEST, error)
    assert caught.value is error


def test_it_is_asked_again_with_the_approval_and_told_once() -> None:
    told: list[Approval] = []
    touch = Touch(told.append)
    pause, again = touch.again(REQUEST, waiting(retry_after_ms=250))
    assert (pause, again.approval_id, again.subject) == (0.25, "ab", REQUEST.subject)
    assert touch.again(again, waiting())[0] == 1.0
    assert [approval.approval_id for approval in told] == ["ab"]


def test_a_daemon_that_never_ends_an_approval_is_not_asked_for_ever() -> None:
    touch = Touch()
    touch.again(REQUEST, waiting(seconds=-5))
    with pytest.raises(Refusal):
        touch.again(REQUEST, waiting(seconds=-11))


@pytest.fixture
def asked() -> list[str | None]:
    """The approval that each request brought."""
    return []


@pytest.fixture
def touched(
    answering: Callable[..., Path],
    respond: Callable[..., Any],
    sign_result: Callable[..., Any],
    asked: list[str | None],
) -> Path:
    """A daemon that is touched after the second question."""

    def handler(request: Any, _: object) -> list[Any]:
        asked.append(msgspec.msgpack.decode(request.params).get("approval_id"))
        if len(asked) > 2:
            return [respond(request, sign_result())]
        details = {"reason": "touch", "approval_id": "ab", "expires_at": in_s(60), "key": "fido2:alice"}
        return [Error("key.presence_required", "touch it", True, request.id, 1, details)]

    return answering(handler)


def test_the_blocking_client_repeats_until_it_is_signed(touched: Path, asked: list[str | None]) -> None:
    told: list[Approval] = []
    with Signer.connect(touched) as signer:
        signed = signer.sign_dsse(REQUEST, wait_for_presence=True, on_presence=told.append)
    assert signed.bundles == (b"{}",)
    assert asked == [None, "ab", "ab"]
    assert len(told) == 1


def test_the_async_one_too(touched: Path, asked: list[str | None]) -> None:
    async def run() -> None:
        async with AsyncSigner.connect(touched) as signer:
            assert (await signer.sign_dsse(REQUEST, wait_for_presence=True)).bundles == (b"{}",)

    anyio.run(run)
    assert asked == [None, "ab", "ab"]


def test_who_does_not_wait_is_told_at_once(touched: Path, asked: list[str | None]) -> None:
    with Signer.connect(touched) as signer, pytest.raises(SignerdError) as caught:
        signer.sign_dsse(REQUEST)
    assert approval_of(caught.value) is not None
    assert asked == [None]
