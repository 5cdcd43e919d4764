"""The cases about the worker as a process: frames that are none, descriptors, its end, and what it leaves."""

import contextlib
import os
import resource
from pathlib import Path
from typing import Final

from signerd.errors import CODES
from signerd.host.memfd import sealed_memfd
from signerd.wire.worker_calls import LINK_FRAME_BYTES, PAYLOAD_INLINE, DescribeResult, SignResultParams
from signerd_conformance.bench import WORKER_PROTOCOL, Bench, Case, Key
from signerd_conformance.profile import Judgement, ok
from signerd_conformance.worker import Ending, Violation, Worker

__all__ = ["PROCESS_CASES"]

END_S: Final = 2.0
"""How soon a worker must be gone once its link has ended."""
REQUESTS: Final = 200
DESCRIPTORS: Final = 128
"""Open files that the worker may have meanwhile: one leaked by each request shows even where nobody may count."""
_SPARE: Final = 4


def _garbage(bench: Bench) -> Judgement:
    return _ended_by(bench, (16).to_bytes(4, "big") + b"\xc1" * 16)


def _oversize(bench: Bench) -> Judgement:
    return _ended_by(bench, (LINK_FRAME_BYTES + 1).to_bytes(4, "big"))


def _ended_by(bench: Bench, data: bytes) -> Judgement:
    params = {"key": bench.key(bench.keys[0]).reference}
    before = bench.worker().result("describe", params, DescribeResult)
    with bench.another() as worker:
        worker.send(data)
        if not worker.closed():
            raise Violation("the worker keeps the link")
        ending = worker.end(END_S)
    if ending.seconds is None or ending.status < 0:
        raise Violation(_ended(ending))
    if bench.worker().result("describe", params, DescribeResult) != before:
        raise Violation("another worker of the same keys answers otherwise now")
    return ok("closes the link; another worker goes on")


def _ended(ending: Ending) -> str:
    if ending.seconds is None:
        return f"it still runs {END_S:g} s after the end of its link"
    return f"signal {-ending.status} ended it" if ending.status < 0 else f"gone in {ending.seconds:.2f} s"


def _descriptors(bench: Bench) -> Judgement:
    keys = [bench.key(reference) for reference in bench.keys]
    key = next((one for one in keys if not one.prehash), keys[0])
    with bench.another() as worker:
        with contextlib.suppress(OSError):
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
        _ask(worker, key)
        before = _open(worker.pid)
        for number in range(REQUESTS):
            try:
                _ask(worker, key)
            except Violation as exc:
                raise Violation(f"with at most {DESCRIPTORS} descriptors, request {number + 1}: {exc}") from None
        after = _open(worker.pid)
    if before is None or after is None:
        return ok(f"{REQUESTS} requests with at most {DESCRIPTORS}; the count itself is hidden")
    if after > before + _SPARE:
        raise Violation(f"{before} descriptors, {after} after {REQUESTS} requests")
    return ok(f"{before}, {after} after {REQUESTS} requests")


def _ask(worker: Worker, key: Key) -> None:
    """Have one message signed, by descriptor where the key takes messages."""
    if key.prehash:
        worker.result("sign", key.params(b""), SignResultParams)
        return
    fd = sealed_memfd("message", bytes(PAYLOAD_INLINE + 1))
    try:
        message = {"fd": 0, "size": PAYLOAD_INLINE + 1}
        worker.result("sign", {"key": key.reference, "message": message}, SignResultParams, (fd,))
    finally:
        os.close(fd)


def _open(pid: int) -> int | None:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:  # a worker that hides from others of its user, as signerd's own does
        return None


def _at_work(bench: Bench) -> Ending:
    key = bench.key(bench.keys[0])
    with bench.another() as worker:
        worker.result("sign", key.params(b""), SignResultParams)
        return worker.end(END_S)


def _end(bench: Bench) -> Judgement:
    ending = _at_work(bench)
    if ending.seconds is None or ending.status < 0:
        raise Violation(_ended(ending))
    return ok(_ended(ending))


def _children(bench: Bench) -> Judgement:
    if left := _at_work(bench).left:
        raise Violation(f"{len(left)} processes are left")
    return ok("none left")


def _output(bench: Bench) -> Judgement:
    bench.drop()
    if total := sum(bench.start.output):
        raise Violation(f"{total} bytes on standard output")
    return ok("nothing")


def _codes(bench: Bench) -> Judgement:
    wrong = sorted(code for code in bench.start.codes if not code.startswith(("key.", "request.")) or code not in CODES)
    if wrong:
        raise Violation(f"{', '.join(code[:40] for code in wrong)}")
    return ok(", ".join(sorted(bench.start.codes)))


PROCESS_CASES: Final = (
    Case("frame-garbage", "docs/protocol.md, Frames", _garbage),
    Case("frame-oversize", "docs/protocol.md, Frames", _oversize),
    Case("descriptors", f"{WORKER_PROTOCOL}: descriptors", _descriptors),
    Case("end", f"{WORKER_PROTOCOL}: the process", _end),
    Case("children", f"{WORKER_PROTOCOL}: the process", _children),
    Case("output", f"{WORKER_PROTOCOL}: the process", _output),
    Case("codes", f"{WORKER_PROTOCOL}: error codes", _codes),
)
"""The last two judge what was seen in all cases before them. Names are stable."""
