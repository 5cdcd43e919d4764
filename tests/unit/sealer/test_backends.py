import hmac
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.hand import Hand
from fakes.sealing import open_here
from signerd.host.memfd import sealed_memfd
from signerd.host.spawn import Spawned, spawn
from signerd.sealer.backends import CALLS_PER_FRAME
from signerd.sealer.worker_call import Call, CallResult
from signerd.sealer.worker_errors import KEY
from signerd.verification.keys import PublicKey
from signerd.wire.mac_calls import HmacParams, HmacResult
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import (
    CallError,
    DescribeParams,
    DescribeResult,
    GenerateParams,
    SignParams,
    SignResultParams,
)

TESTS = str(Path(__file__).parents[2])


def lying(mode: str) -> Callable[[], Spawned]:
    args = ["--mode", mode, "--delay", "0.3"]
    return lambda: spawn("fakes.lying_worker", args, environment={"PYTHONPATH": TESTS})


@pytest.fixture
def begin() -> Iterator[Callable[..., Hand]]:
    made: list[Hand] = []

    def start(how: Callable[[], Spawned], deadline_s: float = 5.0) -> Hand:
        made.append(Hand(how, deadline_s))
        return made[-1]

    yield start
    for hand in made:
        hand.backend.close(0.0)


@pytest.fixture
def files(begin: Callable[..., Hand], tmp_path: Path) -> Hand:
    """The key worker itself, with the file backend."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    settings = msgspec.json.encode({"scheme": "file", "name": "b", "settings": {"directory": str(folder)}})
    return begin(lambda: spawn("signerd.worker.key", settings=settings)).up()


def error(result: CallResult) -> tuple[str, str]:
    assert isinstance(result, CallError)
    return result.code, result.reason


def decoded(result: CallResult, kind: type[Any]) -> Any:
    assert isinstance(result, msgspec.Raw)
    return msgspec.msgpack.decode(result, type=kind)


def test_a_real_worker_generates_describes_and_signs_in_batches(files: Hand) -> None:
    made = decoded(files.ask(("generate", GenerateParams("file:a", "ES256")))[0], DescribeResult)
    public = PublicKey.from_spki(made.spki)
    digests = [bytes([n]) * 32 for n in range(3 * CALLS_PER_FRAME + 1)]
    files.progressed = 0
    results = files.ask(*[("sign", SignParams("file:a", digest)) for digest in digests])
    for digest, result in zip(digests, results, strict=True):
        public.verify_prehashed(decoded(result, SignResultParams).signature, digest)
    assert files.progressed == 4, "the first are taken while the last are made"


def test_one_bad_call_does_not_fail_its_neighbours(files: Hand) -> None:
    files.ask(("generate", GenerateParams("file:a", "ES256")))
    first, second, third = files.ask(
        ("sign", SignParams("file:a", bytes(32))),
        ("describe", DescribeParams("file:nobody")),
        ("describe", DescribeParams("file:a")),
    )
    assert isinstance(first, msgspec.Raw)
    assert error(second) == ("key.not_found", "no_such_key")
    assert isinstance(third, msgspec.Raw)


def test_a_memfd_goes_with_a_frame_of_its_own_and_is_closed(files: Hand) -> None:
    made = decoded(files.ask(("generate", GenerateParams("file:e", "Ed25519")))[0], DescribeResult)
    message = os.urandom(2_000_000)
    before = open_here()
    fd = sealed_memfd("m", message)
    results: list[CallResult] = []
    plain = Call("describe", DescribeParams("file:e"), results.append)
    call = Call("sign", SignParams("file:e", Descriptor(0, len(message))), results.append, (fd,))
    files.backend.call_many([plain, call, plain])
    files.until(lambda: len(results) == 3)
    signed = decoded(results[2], SignResultParams)
    PublicKey.from_spki(made.spki).verify(signed.signature, message)
    assert open_here() == before


def test_while_it_is_down_calls_fail_at_once_and_their_memfds_are_closed(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("honest"))
    before = open_here()
    results: list[CallResult] = []
    fd = sealed_memfd("m", b"x")
    hand.backend.call_many([Call("sign", SignParams("k", Descriptor(0, 1)), results.append, (fd,))])
    assert [error(result) for result in results] == [("key.backend_unavailable", "worker_down")]
    assert open_here() == before
    assert (hand.backend.pid, hand.backend.descriptors(), hand.backend.wants_write()) == (None, (), False)


def test_it_is_up_once_it_has_said_hello_and_tells_so(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("honest"))
    hand.backend.tick(hand.clock.monotonic())
    assert not hand.backend.up
    hand.up()
    assert hand.changes == [True]
    assert hand.backend.pid == hand.started[0].pid


def test_what_was_in_flight_when_it_dies_fails_once_and_it_is_started_again(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("hang")).up()
    results: list[CallResult] = []
    for _ in range(2):
        hand.backend.call_many([Call("sign", SignParams("k", bytes(32)), results.append)] * 3)
    hand.backend.flush()
    os.kill(hand.started[0].pid, signal.SIGKILL)
    hand.until(lambda: results)
    assert [error(result) for result in results] == [("key.backend_unavailable", "worker_died")] * 6
    assert hand.changes == [True, False]
    hand.until(lambda: len(hand.started) == 2 and hand.backend.up)
    assert isinstance(hand.ask(("describe", DescribeParams("k")))[0], msgspec.Raw)


def test_a_call_past_its_deadline_fails_alone_and_its_answer_is_dropped(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("late"), 0.1).up()
    assert error(hand.ask(("sign", SignParams("k", bytes(32))))[0]) == ("key.backend_unavailable", "call_deadline")
    hand.until(lambda: not hand.backend._late)
    assert hand.backend.up
    assert len(hand.started) == 1
    assert isinstance(hand.ask(("describe", DescribeParams("k")))[0], msgspec.Raw)


def test_a_call_that_waits_for_a_person_has_its_own_time_and_what_follows_has_it_after_that(
    begin: Callable[..., Hand],
) -> None:
    hand = begin(lying("late"), 0.1).up()  # the worker sleeps 0.3 s before it signs
    results: list[CallResult] = []
    calls = [Call("sign", SignParams("k", bytes(32)), results.append, deadline_s=20)]
    calls += [Call("describe", DescribeParams("k"), results.append)] * 2
    hand.backend.call_many(calls)
    hand.until(lambda: len(results) == 3)
    assert all(isinstance(result, msgspec.Raw) for result in results)
    assert error(hand.ask(("sign", SignParams("k", bytes(32))))[0])[1] == "call_deadline", "the others have their own"


def test_a_call_that_waits_for_a_person_may_be_late_too(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("hang"), 20).up()
    results: list[CallResult] = []
    hand.backend.call_many([Call("sign", SignParams("k", bytes(32)), results.append, deadline_s=0.1)])
    hand.until(lambda: results)
    assert error(results[0]) == ("key.backend_unavailable", "call_deadline")
    hand.backend.restart()
    hand.until(lambda: hand.backend.up)
    assert hand.backend._busy_until == {}


def test_two_missed_in_a_row_are_a_worker_that_hangs(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("hang"), 0.1).up()
    for _ in range(2):
        hand.ask(("sign", SignParams("k", bytes(32))))
    hand.until(lambda: hand.started[0].status is not None)
    assert hand.started[0].status == -signal.SIGKILL


@pytest.mark.parametrize("mode", ["missing", "surplus"])
def test_an_answer_out_of_shape_fails_its_calls_and_condemns_it(begin: Callable[..., Hand], mode: str) -> None:
    hand = begin(lying(mode)).up()
    results = hand.ask(*[("sign", SignParams("k", bytes(32)))] * 3)
    assert {error(result) for result in results} == {("key.backend_fault", "answer_shape")}
    assert not hand.backend.up
    hand.until(lambda: hand.started[0].status is not None)


def test_an_outcome_that_is_both_condemns_it(begin: Callable[..., Hand]) -> None:
    hand = begin(lying("both")).up()
    (result,) = hand.ask(("sign", SignParams("k", bytes(32))))
    assert error(result) == ("key.backend_fault", "answer_shape")
    assert not hand.backend.up


@pytest.mark.parametrize("mode", ["twice", "foreign", "garbage", "oversize", "descriptor"])
def test_what_breaks_the_protocol_takes_it_down(begin: Callable[..., Hand], mode: str) -> None:
    before = open_here()
    hand = begin(lying(mode)).up()
    results: list[CallResult] = []
    hand.backend.call_many([Call("sign", SignParams("k", bytes(32)), results.append)])
    hand.until(lambda: hand.started[0].status is not None)
    assert hand.started[0].status == -signal.SIGKILL
    assert len(results) == 1
    if mode != "twice":
        assert error(results[0])[0] == "key.backend_unavailable"
    hand.backend.close(0.0)
    assert open_here() == before


def test_a_worker_that_cannot_be_started_is_tried_again_later(begin: Callable[..., Hand]) -> None:
    def fail() -> Spawned:
        raise OSError(12, "Cannot allocate memory")

    hand = Hand(fail)
    now = hand.clock.monotonic()
    hand.backend.tick(now)
    assert not hand.backend.up
    look = hand.backend.next_look()
    assert look is not None
    assert look > now


def test_one_that_ends_before_it_says_hello_was_never_up(begin: Callable[..., Hand]) -> None:
    hand = begin(lambda: spawn("signerd.worker.key", settings=b"{}"))
    hand.until(lambda: hand.changes)
    assert (hand.changes, hand.backend.up) == ([False], False)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, ("key.backend_fault", "foreign_code")),
        (CallError("auth.required", "lie", "no"), ("key.backend_fault", "foreign_code")),
        (CallError("key.made_up", "lie", "no"), ("key.backend_fault", "foreign_code")),
        (CallError("internal", "lie", "no"), ("key.backend_fault", "foreign_code")),
        (CallError("key.not_found", "no_such_key", "no"), ("key.not_found", "no_such_key")),
        (CallError("key.suspended", "x" * 64, "y" * 1000), ("key.suspended", "x" * 64)),
        (CallError("key.suspended", "x" * 65, "no"), ("key.suspended", "refused")),
        (CallError("key.suspended", "two\nlines", "no"), ("key.suspended", "refused")),
        (CallError("key.suspended", "", "no", "two\nlines\x1b[2J\u202e" * 1000), ("key.suspended", "refused")),
    ],
)
def test_a_workers_error_is_one_of_keys(said: CallError | None, told: tuple[str, str]) -> None:
    made = KEY.told(said)
    assert (made.code, made.reason) == told
    assert len(made.message) <= 200
    assert made.operator.isprintable(), "it forges no line of the log"
    assert len(made.operator) <= 1000


@pytest.fixture
def secrets(begin: Callable[..., Hand], tmp_path: Path) -> Hand:
    """The key worker with the backend of MACs, and one secret."""
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "k.hmac-sha256").touch(mode=0o600)
    (folder / "k.hmac-sha256").write_bytes(bytes(range(32)))
    settings = msgspec.json.encode({"scheme": "hmac", "name": "b", "settings": {"directory": str(folder)}})
    return begin(lambda: spawn("signerd.worker.key", settings=settings), 1.0).up()


def sparse(tmp_path: Path) -> int:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    return os.open(tmp_path / "sparse", os.O_RDONLY)


def long_call(fd: int, done: Any, over: Any, seconds: float | None = 600.0) -> Call:
    params = HmacParams("hmac:k", "HMAC-SHA256", Descriptor(0, 1 << 40))
    return Call("hmac", params, done, (fd,), alone=True, seconds=seconds, over=over)


def test_what_is_alone_is_answered_when_it_is_done(secrets: Hand, tmp_path: Path) -> None:
    """A long one takes longer than the worker's deadline, and every other is answered meanwhile."""
    results: list[CallResult] = []
    ended: list[CallResult] = []
    over: list[int] = []
    long = long_call(sparse(tmp_path), ended.append, lambda: over.append(1))
    secrets.backend.call_many([long])
    until = secrets.clock.monotonic() + 1.5
    while secrets.clock.monotonic() < until:
        short = Call("hmac", HmacParams("hmac:k", "HMAC-SHA256", b"x"), results.append, alone=True)
        count = len(results)
        secrets.backend.call_many([Call("describe", DescribeParams("hmac:k"), results.append), short])
        secrets.until(lambda count=count: len(results) == count + 2)  # type: ignore[misc]
    assert all(isinstance(result, msgspec.Raw) for result in results)
    made = decoded(results[-1], HmacResult)
    assert made.mac == hmac.digest(bytes(range(32)), b"x", "sha256")
    assert (ended, over) == ([], [])
    secrets.backend.withdraw(long.done)
    secrets.until(lambda: over)
    assert (ended, over) == ([], [1])
    secrets.backend.withdraw(long.done)
    assert secrets.backend.up


def test_a_missed_deadline_of_its_own_says_nothing_of_the_worker(secrets: Hand, tmp_path: Path) -> None:
    for _ in range(3):
        ended: list[CallResult] = []
        over: list[int] = []
        secrets.backend.call_many([long_call(sparse(tmp_path), ended.append, lambda: over.append(1), 0.05)])  # noqa: B023  # used up in this turn
        secrets.until(lambda: over and ended)  # noqa: B023
        assert error(ended[0]) == ("key.backend_unavailable", "call_deadline")
    assert secrets.backend.up
    assert len(secrets.started) == 1


def test_what_a_dead_worker_had_in_hand_is_over(secrets: Hand, tmp_path: Path) -> None:
    ended: list[CallResult] = []
    over: list[int] = []
    waiting, withdrawn = sparse(tmp_path), sparse(tmp_path)
    first = long_call(waiting, ended.append, lambda: over.append(1))
    second = long_call(withdrawn, ended.append, lambda: over.append(2))
    secrets.backend.call_many([first, second])
    secrets.backend.flush()
    secrets.backend.withdraw(second.done)
    assert secrets.backend.pid is not None
    os.kill(secrets.backend.pid, signal.SIGKILL)
    secrets.until(lambda: len(over) == 2)
    assert [error(result) for result in ended] == [("key.backend_unavailable", "worker_died")]
    assert sorted(over) == [1, 2]
    down = long_call(sparse(tmp_path), ended.append, lambda: over.append(3))
    secrets.backend.call_many([down])
    assert (error(ended[-1])[1], over[-1]) == ("worker_down", 3)


def test_what_is_wrong_with_a_file_is_told_as_it_is(secrets: Hand, tmp_path: Path) -> None:
    ended: list[CallResult] = []
    (tmp_path / "f").write_bytes(b"x")
    secrets.backend.call_many([long_call(os.open(tmp_path / "f", os.O_RDONLY), ended.append, None)])
    secrets.until(lambda: ended)
    assert error(ended[0]) == ("request.malformed", "size_mismatch")
