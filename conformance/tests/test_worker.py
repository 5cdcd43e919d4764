import gc
import os
import sys
import time
from pathlib import Path

import msgspec
import pytest

from fakes.flawed_bench import flawed
from signerd.wire.messages import Error
from signerd.wire.worker_calls import DescribeResult
from signerd_conformance.worker import Start, Violation, Worker


def python(program: str, **options: object) -> Start:
    """A worker that runs ``program`` with its socket as ``link`` and ``say``, which sends a map as a frame."""
    head = (
        "import msgspec, socket, sys, os, time\n"
        "link = socket.socket(fileno=int(sys.argv[1]))\n"
        "def say(message):\n"
        "    body = msgspec.msgpack.encode(message)\n"
        "    link.sendall(len(body).to_bytes(4, 'big') + body)\n"
    )
    return Start((sys.executable, "-c", head + program, "{fd}"), **options)  # type: ignore[arg-type]  # passed through


def test_where_the_number_of_the_socket_goes() -> None:
    assert Start(("worker", "-v")).arguments(7) == ["worker", "-v", "--fd", "7"]
    assert Start(("worker", "--link={fd}", "-v")).arguments(7) == ["worker", "--link=7", "-v"]


def test_settings_are_standard_input_and_output_is_counted() -> None:
    start = python("sys.stdout.write(sys.stdin.read() * 2)", settings=b"12345")
    ending = Worker(start).end(10)
    assert (ending.status, ending.left, start.output) == (0, (), [10])
    assert ending.seconds is not None


def test_a_command_that_is_not_there_leaves_nothing_open() -> None:
    gc.collect()  # what an earlier test left in a cycle would be closed in between
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Worker(Start(("/no/such/worker",)))
    assert set(os.listdir("/proc/self/fd")) == before


def test_results_and_refusals_are_told_apart(tmp_path: Path) -> None:
    bench = flawed("none", tmp_path)
    worker = bench.worker()
    assert worker.result("describe", {"key": "x:given"}, DescribeResult).algorithm == "Ed25519"
    assert worker.refusal("describe", {"key": "x:absent"}).code == "key.not_found"
    with pytest.raises(Violation, match=r"describe is refused: key\.not_found \(no_such_key\)"):
        worker.result("describe", {"key": "x:absent"}, DescribeResult)
    with pytest.raises(Violation, match="describe is answered where it must be refused"):
        worker.refusal("describe", {"key": "x:given"})
    with pytest.raises(Violation, match="the result of describe is not as it should be"):
        worker.result("describe", {"key": "x:given"}, msgspec.defstruct("Other", [("nothing", int)]))
    assert bench.start.codes == {"key.not_found"}
    bench.drop()


DESCRIPTORS = r"""
body = b"\x83\xa4type\xa8response\xa2id\1\xa6result\x80"
socket.send_fds(link, [len(body).to_bytes(4, "big") + body], [0, 0])
link.recv(1)
"""
ERROR = {"type": "error", "code": "key.not_found", "message": "", "retryable": False}


@pytest.mark.parametrize(
    ("program", "seen"),
    [
        ("", "the worker has closed the link"),
        ("link.sendall(b'\\0\\0\\0\\1\\xc1')", "a frame is no message"),
        ("link.sendall(b'\\0\\x40\\0\\1')", "a frame of 4194305 bytes is above the limit of 4194304"),
        ("say({'type': 'goaway', 'reason': 'x'}); link.recv(1)", "a goaway where an answer is due"),
        ("say({'type': 'response', 'id': 9, 'result': {}}); link.recv(1)", "an answer with the id 9"),
        (f"say({ {**ERROR, 'details': {'reason': 'x'}} }); link.recv(1)", "an answer with no id"),
        (f"say({ {**ERROR, 'id': 1} }); link.recv(1)", r"the error key\.not_found has no reason"),
        (f"say({ {**ERROR, 'id': 1, 'details': {'reason': 'Two words'}} }); link.recv(1)", "has no reason"),
        (DESCRIPTORS, "2 descriptors come with an answer"),
    ],
)
def test_what_is_no_answer_is_a_violation(program: str, seen: str) -> None:
    with Worker(python(program)) as worker, pytest.raises(Violation, match=seen):
        worker.ask("describe", {"key": "x:given"})


def test_silence_is_a_violation_after_its_time_and_a_hello_may_be_refused() -> None:
    with Worker(python("link.recv(4096); time.sleep(60)", seconds=0.5)) as worker:
        started = time.monotonic()
        with pytest.raises(Violation, match=r"no answer in 0\.5 s"):
            worker.hello()
        assert time.monotonic() - started < 5
        assert not worker.closed()
    refusing = f"link.recv(4096); say({ {**ERROR, 'details': {'reason': 'no'}} })"
    with Worker(python(refusing)) as worker:
        assert isinstance(worker.hello(), Error)
        assert worker.closed()
    answering = "link.recv(4096); say({'type': 'response', 'id': 1, 'result': {}}); link.recv(1)"
    with Worker(python(answering)) as worker, pytest.raises(Violation, match="is a response and no hello"):
        worker.hello()


def test_one_worker_is_not_what_another_leaves_behind() -> None:
    with Worker(python("link.recv(1)")) as first, Worker(python("link.recv(1)")) as second:
        assert first.end(10).left == ()
        second.send(b"x")
        assert second.closed()
        assert second.end(10).status == 0


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path) -> None:
    worker = Worker(python("time.sleep(60)"))
    ending = worker.end(0.2)
    assert (ending.seconds, ending.status) == (None, -9)
    bench = flawed("none", tmp_path)
    assert bench.worker().end(5).status == 0
