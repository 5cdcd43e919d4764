"""The cases about a worker at a socket path: whoever does not hold the credential gets nothing out of it (T1)."""

import dataclasses
import os
from typing import Final, cast

from signerd.wire.messages import Error
from signerd.wire.worker_calls import DescribeResult
from signerd_conformance.bench import WORKER_PROTOCOL, Bench, Case
from signerd_conformance.profile import Judgement, ok
from signerd_conformance.service import Service
from signerd_conformance.worker import Violation, Worker, told

__all__ = ["SOCKET_CASES"]

SILENT_S: Final = 5.0
_SLACK_S: Final = 5.0


def _refused(worker: Worker, what: str) -> str:
    """Wait for the end of a connection that may have been told an error first; anything else is an answer."""
    try:
        answer = worker.receive()
    except Violation as exc:
        if worker.closed():
            return "closed without a word"
        raise Violation(f"{what}: {exc}") from None
    if not isinstance(answer, Error) or not worker.closed():
        raise Violation(f"{what} is answered by a {type(answer).__name__.lower()}, and the link stays")
    return told(answer)


def _open(bench: Bench) -> Service:
    return cast("Service", bench.open())  # these cases are judged at a socket path alone


def _second(bench: Bench) -> Judgement:
    first = bench.worker()
    with bench.open() as second:
        seen = _refused(second, "a second connection")
    first.ask("describe", {"key": bench.absent()})
    return ok(f"{seen}; the first goes on")


def _wrong_mac(bench: Bench) -> Judgement:
    bench.drop()
    with _open(bench) as worker:
        worker.meet()
        worker.prove(os.urandom(32))
        return ok(_refused(worker, "another MAC"))


def _replayed(bench: Bench) -> Judgement:
    bench.drop()
    with _open(bench) as worker:
        worker.meet()
        overheard = worker.prove()
        worker.check()
    with _open(bench) as worker:
        worker.meet()
        worker.prove(overheard)
        return ok(_refused(worker, "the MAC of an earlier connection"))


def _early(bench: Bench) -> Judgement:
    key = bench.key(bench.keys[0])
    bench.drop()
    with _open(bench) as worker:
        worker.request("sign", key.params(b""))
        first = _refused(worker, "a call before the hello")
    with _open(bench) as worker:
        worker.meet()
        worker.request("sign", key.params(b""))
        return ok(f"{first}; {_refused(worker, 'a call before the proof')}")


def _silent(bench: Bench) -> Judgement:
    bench.drop()
    patient = dataclasses.replace(bench.start, seconds=SILENT_S + _SLACK_S)
    assert bench.start.at_socket is not None
    with Service(patient, bench.start.at_socket) as worker:
        _refused(worker, "silence")
    again = bench.worker().result("describe", {"key": bench.key(bench.keys[0]).reference}, DescribeResult)
    return ok(f"closed; the next is served ({again.algorithm[:40]})")


SOCKET_CASES: Final = (
    Case("socket-second", f"{WORKER_PROTOCOL}: at a socket path", _second),
    Case("socket-mac", f"{WORKER_PROTOCOL}: at a socket path", _wrong_mac),
    Case("socket-replay", f"{WORKER_PROTOCOL}: at a socket path", _replayed),
    Case("socket-early", f"{WORKER_PROTOCOL}: at a socket path", _early),
    Case("socket-silent", f"{WORKER_PROTOCOL}: at a socket path", _silent),
)
