"""Faults beneath a running daemon: a log that cannot be written, processes that hang, time that runs out.

Each becomes a typed error in bounded time, releases nothing, leaves every record closed once, and is over by itself
when its cause is.
"""

import contextlib
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running.callers import Callers, request, sign_until, unrecorded
from running.configured import configuration, stopped, until
from running.daemon import Running, running
from signerd.errors import Fault
from signerd.wire.frames import FrameReader, encode_frame
from signerd.wire.messages import Hello, Limits, Request
from signerd_client import Signer
from signerd_client.requests import batch_calls

SHORT = {"audit_write_s": 0.4, "worker_call_software_s": 0.4}
SILENT_S = 2 * SHORT["audit_write_s"] + SHORT["worker_call_software_s"]
"""After so long without an answer the front end takes its sealer for hung."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon with short limits, for all tests that wait for one."""
    base = tmp_path_factory.mktemp("short")
    with running(base, config=configuration(base, SHORT)) as started:
        yield started


def sound(daemon: Running, held: Callers | None = None) -> None:
    """Wait until every record is closed, each once."""
    until(lambda: unrecorded(held.held if held else (), daemon.leaves()) == [], 5)


def refused(daemon: Running, *, deadline_s: float | None = None) -> tuple[Fault, float]:
    """Ask for a signature, which must fail; return the fault and how long it took in seconds."""
    with Signer.connect(daemon.socket) as signer:
        started = time.monotonic()
        with pytest.raises(Fault) as caught:
            signer.sign_dsse(request(), deadline_s=deadline_s)
        return caught.value, time.monotonic() - started


@contextlib.contextmanager
def locked(daemon: Running) -> Iterator[None]:
    """Hold the write lock of the audit log, as a backup tool gone wrong would."""
    other = sqlite3.connect(daemon.state / "audit.sqlite", isolation_level=None, check_same_thread=False)
    try:
        other.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        other.close()


@contextlib.contextmanager
def file_size_limit(pid: int, size: int) -> Iterator[None]:
    """Let the process make no file longer than ``size``: every write beyond fails, as on a full disk."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def read_only(file: Path) -> Iterator[None]:
    """Let nobody open the file for writing: by a mount for root, whom modes do not stop, else by its mode."""
    if os.geteuid() != 0:
        file.chmod(0o400)
        try:
            yield
        finally:
            file.chmod(0o600)
        return
    if subprocess.run(["mount", "--bind", file, file], capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount anything")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", file], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", file], check=True)


def test_a_lock_that_passes_is_waited_for(daemon: Running) -> None:
    with Signer.connect(daemon.socket) as signer, contextlib.ExitStack() as lock:
        lock.enter_context(locked(daemon))
        timer = threading.Timer(1.0, lock.close)
        timer.start()
        started = time.monotonic()
        signer.sign_dsse(request())
        assert time.monotonic() - started >= 0.9
        timer.join()
    sound(daemon)


def test_a_lock_that_stays_is_a_refusal_within_the_limit(daemon: Running) -> None:
    before = len(daemon.leaves())
    with locked(daemon):
        for _ in range(2):
            fault, took = refused(daemon)
            assert (fault.code, fault.details["reason"]) == ("audit.unavailable", "locked")
            assert 1.9 <= took <= 8.0, "the limit and what a loaded machine adds"
        assert len(daemon.leaves()) == before
    assert sign_until(daemon.socket, 5) < 1.0
    sound(daemon)


def test_nothing_leaves_while_the_log_is_locked_and_nothing_is_lost_after(short: Running) -> None:
    sealer = short.child("sealer")
    with Callers(short.socket) as callers:
        callers.wait_for_more(1)
        for _ in range(3):
            with locked(short):
                time.sleep(0.5)  # answers to what was durable before are on their way
                count = callers.count
                time.sleep(0.6)
                assert callers.count == count
            callers.wait_for_more(1)
    sound(short, callers)
    assert short.child("sealer") == sealer
    assert any("audit.unavailable" in name for name in callers.errors)


def test_a_full_disk_is_a_refusal_and_passes_by_itself(short: Running) -> None:
    sealer = short.child("sealer")
    with Callers(short.socket) as callers:
        callers.wait_for_more(1)
        with file_size_limit(sealer, 8192):
            until(lambda: "audit.unavailable:io_error" in callers.errors)
            time.sleep(0.5)
            count = callers.count
            time.sleep(0.2)
            assert callers.count == count
        callers.wait_for_more(1)
    sound(short, callers)
    assert short.child("sealer") == sealer


@needs_root
def test_a_full_file_system_is_named_and_passes_by_itself(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", os.fspath(state)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount anything")
    try:
        with running(tmp_path) as daemon:
            ballast = state / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            fault = None
            with Signer.connect(daemon.socket) as signer:
                # What is free within the file's pages still takes a few records.
                for outcome in signer.sign_batch([request(number) for number in range(256)]):
                    fault = fault or outcome.error
            assert fault is not None
            assert (fault.code, fault.details["reason"]) == ("audit.unavailable", "disk_full")
            ballast.unlink()
            assert sign_until(daemon.socket, 5) < 1.0
            sound(daemon)
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)


def test_a_log_that_became_read_only_is_a_refusal(short: Running) -> None:
    sealer = short.child("sealer")
    with read_only(short.state / "audit.sqlite"):
        # What is open stays writable: a first failure makes the sealer open the file anew.
        with file_size_limit(sealer, 4096):
            assert refused(short)[0].details["reason"] == "io_error"
        fault, took = refused(short)
        assert fault.code == "audit.unavailable"
        assert fault.details["reason"] in ("read_only", "cannot_open")
        assert took < 1.0
    assert sign_until(short.socket, 5) < 1.0
    assert short.child("sealer") == sealer
    sound(short)


def test_nothing_starts_on_a_read_only_log(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    before = (tmp_path / "state/audit.sqlite").read_bytes()
    with read_only(tmp_path / "state/audit.sqlite"):
        started = Running(tmp_path)
        try:
            assert started.wait_ended() == 10
            assert "audit log" in started.said
            assert "ready" not in started.said
            assert not started.socket.exists()
        finally:
            started.close()
    assert (tmp_path / "state/audit.sqlite").read_bytes() == before


def test_a_sealer_that_hangs_is_replaced(short: Running) -> None:
    sealer = short.child("sealer")
    with stopped(sealer):
        fault, took = refused(short)
        assert (fault.code, fault.details["reason"]) == ("audit.unavailable", "sealer_lost")
        assert took <= SILENT_S + 0.5
        assert sign_until(short.socket, 5) <= 1.5
    assert short.child("sealer") != sealer
    sound(short)


def test_so_is_one_whose_callers_give_up_before_that(short: Running) -> None:
    sealer = short.child("sealer")
    with stopped(sealer):
        started = time.monotonic()
        codes = []
        while short.children().get("sealer") == sealer:
            assert time.monotonic() - started < 5
            codes.append(refused(short, deadline_s=0.2)[0].code)
        assert codes[0] == "request.deadline"
        sign_until(short.socket, 5)
    sound(short)


def test_a_key_worker_that_hangs_misses_two_calls_and_is_replaced(short: Running) -> None:
    sign_until(short.socket, 5)
    worker = short.child("key")
    with stopped(worker):
        for _ in range(2):
            fault, took = refused(short)
            assert (fault.code, fault.details["reason"]) == ("key.backend_unavailable", "call_deadline")
            assert SHORT["worker_call_software_s"] <= took <= SHORT["worker_call_software_s"] + 0.5
        assert sign_until(short.socket, 5) <= 1.5
    assert short.child("key") != worker
    sound(short)


def test_one_that_comes_to_itself_in_time_is_kept(short: Running) -> None:
    worker = short.child("key")
    with stopped(worker):
        assert refused(short)[0].details["reason"] == "call_deadline"
    sign_until(short.socket, 5)
    assert short.child("key") == worker
    sound(short)


def test_a_deadline_ends_the_request_and_closes_its_record(daemon: Running) -> None:
    worker = daemon.child("key")
    with stopped(worker):
        fault, took = refused(daemon, deadline_s=0.2)
        assert fault.code == "request.deadline"
        assert 0.2 <= took <= 0.7
        sound(daemon)
        last = daemon.leaves()[-1]
        assert (last["kind"], last["outcome"], last["code"]) == ("outcome", "fault", "request.deadline")
    # What the worker signs late reaches nobody, and it goes on.
    sign_until(daemon.socket, 5)
    assert daemon.child("key") == worker
    sound(daemon)


def test_a_close_that_crosses_the_sealers_own_answer_breaks_no_rule(short: Running) -> None:
    """The deadline passes while the sealer waits for its log, and then fails by itself."""
    sealer = short.child("sealer")
    with locked(short):
        assert refused(short, deadline_s=SHORT["audit_write_s"] / 2)[0].code == "request.deadline"
        time.sleep(SHORT["audit_write_s"])
    sign_until(short.socket, 5)
    assert short.child("sealer") == sealer
    sound(short)


def test_deadlines_that_meet_their_answers_break_nothing(daemon: Running) -> None:
    sealer = daemon.child("sealer")
    codes = set()
    with Callers(daemon.socket, 2) as callers, Signer.connect(daemon.socket) as signer:
        callers.wait_for_more(1)
        for number in range(300):
            try:
                signer.sign_dsse(request(number), deadline_s=0.001 * (1 + number % 8))
            except Fault as fault:
                codes.add(fault.code)
        callers.wait_for_more(1)
    assert codes <= {"request.deadline"}
    assert daemon.child("sealer") == sealer
    sound(daemon, callers)


def test_an_answer_that_is_read_after_the_sealers_death_breaks_nothing(daemon: Running) -> None:
    """Its record was closed by the next sealer's start, which knows nothing of it otherwise."""
    limits = Limits(2**22, 2**20, 2**27, 64, 256, 1024, 32, 64, 120_000)
    _, call = next(batch_calls([request(n) for n in range(256)], None, limits))
    sealer = daemon.child("sealer")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(daemon.socket))
        slow.sendall(encode_frame(Hello((1,), "slow")) + encode_frame(Request(1, call.method, call.params)))
        until(lambda: sum(leaf["kind"] == "decided" for leaf in daemon.leaves()) >= 256)
        time.sleep(0.2)  # the answer fills the socket's buffer, and waits
        os.kill(sealer, signal.SIGKILL)
        daemon.child("sealer", other_than=sealer)
        sign_until(daemon.socket, 5)
        successor = daemon.child("sealer")
        reader = FrameReader(2**24)
        frames = 0
        slow.settimeout(5)
        while frames < 2:
            reader.feed(slow.recv(65536))
            while reader.next_frame() is not None:
                frames += 1
    sign_until(daemon.socket, 5)
    assert daemon.child("sealer") == successor
    sound(daemon)
