"""The rows about key backends: what a token costs through the worker, and what a failing one costs the others."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from bench.caller import Caller, CallFailed, verify_bundle
from bench.hsm import FILE_KEY, HSM_KEY, Token, configuration
from bench.link import LoneWorker
from bench.load import Sample
from bench.peers import RELEASE, Daemon
from bench.processes import tree
from bench.rows import Row, pair_rows, sample_row
from bench.run import Run, say
from bench.templates import cyclonedx, sign_dsse, sign_params

__all__ = ["restart", "token", "token_worker", "wedged"]

_PAYLOAD_BYTES = 2048
_IN_FLIGHT = 8
_RESTARTS = 10
_PAUSE_S = 0.1
_PATIENCE_S = 20.0


def token_worker(run: Run) -> None:
    """Host, worker and SoftHSM2 alone, against SoftHSM2 called in process; signatures a second."""
    with tempfile.TemporaryDirectory(dir=run.directory) as directory:
        made = Token(Path(directory))
        worker = LoneWorker("pkcs11", made.settings())
        try:
            worker.make(HSM_KEY)
            rates, ratios = [], []
            for _ in range(run.plan.pairs):
                rates.append(worker.rate(HSM_KEY, _IN_FLIGHT, run.plan.seconds))
                peer = made.rate_in_process(run.plan.seconds)
                ratios.append(rates[-1] / peer)
                say(f"  worker {rates[-1]:9,.0f}/s   in process {peer:9,.0f}/s")
        finally:
            worker.close()
    run.rows.append(
        Row(name="token-worker", connections=_IN_FLIGHT, rate=round(median(rates), 1), ratio=round(median(ratios), 3))
    )


def token(run: Run) -> None:
    """The full path with a key in SoftHSM2, against the same daemon's software key."""
    with tempfile.TemporaryDirectory(dir=run.directory) as directory:
        made = Token(Path(directory))
        with run.fresh_daemon(configuration(Path(directory), made.settings())) as daemon:
            mine: list[Sample] = []
            theirs: list[Sample] = []
            for _ in range(run.plan.pairs):
                mine.append(run.take(daemon, sign_dsse(_PAYLOAD_BYTES, RELEASE, HSM_KEY), _IN_FLIGHT).sample)
                run.verify_last(daemon, HSM_KEY)
                theirs.append(run.take(daemon, sign_dsse(_PAYLOAD_BYTES, RELEASE, FILE_KEY), _IN_FLIGHT).sample)
    run.rows.append(pair_rows(sample_row("token", mine), mine, theirs))


def wedged(run: Run) -> None:
    """p99 of a software key's caller while eight callers wait for a token that hangs, to its p99 before."""
    idle, beside = [], []
    software = sign_dsse(_PAYLOAD_BYTES, RELEASE, FILE_KEY)
    for _ in range(run.plan.pairs):
        with tempfile.TemporaryDirectory(dir=run.directory) as directory:
            made = Token(Path(directory))
            with run.fresh_daemon(configuration(Path(directory), made.settings(wedged=True))) as daemon:
                idle.append(run.take(daemon, software, 1).sample)
                made.wedge()
                with _waiting_callers(daemon):
                    beside.append(run.take(daemon, software, 1).sample)
    row = sample_row(
        "wedged",
        beside,
        p99_idle_us=round(median(s.p99_us for s in idle), 1),
        delay_us=round(median(b.p99_us - a.p99_us for a, b in zip(idle, beside, strict=True)), 1),
    )
    run.rows.append(row)


@contextmanager
def _waiting_callers(daemon: Daemon) -> Iterator[None]:
    """Callers of the token's key, each with a request in flight; refused, they try again after a moment.

    Without the moment they would measure a storm of refusals and not a token that hangs.
    """
    over = threading.Event()
    params = sign_params(cyclonedx(_PAYLOAD_BYTES), RELEASE) | {"options": {"keys": [HSM_KEY]}}

    def wait() -> None:
        with Caller(daemon.socket) as caller:
            while not over.wait(_PAUSE_S):
                with suppress(CallFailed):
                    caller.call("sign.dsse", params)

    callers = [threading.Thread(target=wait) for _ in range(_IN_FLIGHT)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join()


def restart(run: Run) -> None:
    """SIGKILL of the key worker to the next verified signature."""
    walls = []
    with run.fresh_daemon() as daemon, Caller(daemon.socket) as caller:
        spki = caller.call("keys.describe", {"key": FILE_KEY})["spki"]
        for number in range(_RESTARTS):
            _signed(caller, spki, number)
            (worker,) = [pid for pid, role in tree(daemon.pid).items() if role == "key worker"]
            os.kill(worker, signal.SIGKILL)
            began = time.monotonic()
            _until_signed(caller, spki, number)
            walls.append(time.monotonic() - began)
    say(f"  restart: {median(walls) * 1e3:.0f} ms, at most {max(walls) * 1e3:.0f} ms")
    detail = {"wall_s": round(median(walls), 3), "longest_s": round(max(walls), 3), "restarts": _RESTARTS}
    figures = (round(median(walls) * 1e6), round(max(walls) * 1e6))
    run.rows.append(Row(name="restart", connections=1, p50_us=figures[0], p99_us=figures[1], detail=detail))


def _signed(caller: Caller, spki: bytes, number: int) -> None:
    result = caller.call("sign.dsse", sign_params(cyclonedx(_PAYLOAD_BYTES), RELEASE, number))
    verify_bundle(result["bundles"][0], spki)


def _until_signed(caller: Caller, spki: bytes, number: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            _signed(caller, spki, number)
        except CallFailed:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)
        else:
            return
