"""T4: what is killed between the decision and the outcome leaves nothing in a log that the record does not explain.

The sealer is killed in each window of decided → signed → published → outcome, with the real log behind a gate that
stands still where the test wants it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.http_double import Asked, HttpDouble, Reply
from running.callers import request
from running.configured import records, stopped, until
from running.daemon import Running, running
from running.published import log_table, publishing
from running.rekor import Rekor
from signerd.attestation.bundle import parse_bundle
from signerd.errors import SignerdError
from signerd.wire.params import Options
from signerd_client import Signed, Signer

pytestmark = pytest.mark.needs("rekor")


class Gate:
    """Stands before the log. ``before`` and ``after`` are called around each post: with nothing in between they hold
    it before the log has it, or hold the answer back when it does."""

    def __init__(self, rekor: Rekor) -> None:
        self._rekor = rekor
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.reading: Callable[[], None] = lambda: None
        self.accepted: list[int] = []
        self.server = HttpDouble(self._answer)

    def _answer(self, asked: Asked) -> Reply:
        post = asked.method == "POST"
        if post:
            self.before()
        else:
            self.reading()
        status, headers, body = self._passed_on(asked)
        if post:
            self.accepted.append(status)
            self.after()
        index = headers.get("X-Log-Index")
        return Reply(status, body, {} if index is None else {"X-Log-Index": index})

    def _passed_on(self, asked: Asked) -> tuple[int, "urllib.request.Message | dict[str, str]", bytes]:  # type: ignore[name-defined]
        sent = urllib.request.Request(  # noqa: S310  # loopback
            self._rekor.url + asked.path, asked.body or None, {"Content-Type": "application/json"}, method=asked.method
        )
        try:
            with urllib.request.urlopen(sent, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.headers, exc.read()


class Held:
    """A place where posts stand still until they are let go; afterwards nobody is held."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.arrived.set()
        assert self.let_go.wait(30)


@pytest.fixture
def gate(rekor: Rekor) -> Iterator[Gate]:
    made = Gate(rekor)
    yield made
    made.server.close()


@pytest.fixture
def daemon(gate: Gate, rekor: Rekor, tmp_path: Path) -> Iterator[Running]:
    config = publishing(tmp_path, log_table(gate.server.url, rekor.public_key))
    with running(tmp_path, config=config) as started:
        until(lambda: " is up" in started.said)
        yield started


class Caller:
    """Asks in a thread, and keeps what came of it."""

    def __init__(self, daemon: Running, number: int, transparency: str = "required") -> None:
        self.result: Signed | SignerdError | None = None
        options = Options(transparency=transparency)  # type: ignore[arg-type]
        self._asked = dataclasses.replace(request(number), options=options)
        self._thread = threading.Thread(target=self._ask, args=(daemon.socket,))
        self._thread.start()

    def _ask(self, socket: Path) -> None:
        with Signer.connect(socket) as signer:
            try:
                self.result = signer.sign_dsse(self._asked, deadline_s=60)
            except SignerdError as error:
                self.result = error

    def ended(self) -> Signed | SignerdError:
        self._thread.join(60)
        assert self.result is not None
        return self.result


def kinds(daemon: Running) -> list[str]:
    return [str(row["kind"]) for row in daemon.leaves() if row["kind"] not in ("start", "ring")]


def looked_up(daemon: Running) -> list[dict[str, Any]]:
    """What the start has found of earlier records, once there is something."""
    until(lambda: "looked_up" in kinds(daemon), 30)
    return [json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["kind"] == "looked_up"]  # type: ignore[call-overload]


def killed(daemon: Running) -> None:
    """Kill the sealer, and wait until another serves."""
    pid = daemon.child("sealer")
    os.kill(pid, signal.SIGKILL)
    daemon.child("sealer", other_than=pid)
    until(lambda: daemon.said.count(" is up") >= 2, 20)


def closed_as_unknown(daemon: Running, caller: Caller) -> None:
    error = caller.ended()
    assert isinstance(error, SignerdError)
    assert error.code == "audit.unavailable"
    until(lambda: list(records(daemon).values()) == [["unknown"]])


def test_decided_and_not_signed(daemon: Running, gate: Gate) -> None:
    """Nothing was published, and nothing is."""
    with stopped(daemon.child("key")):
        caller = Caller(daemon, 1)
        until(lambda: kinds(daemon) == ["decided"])
        killed(daemon)
    closed_as_unknown(daemon, caller)
    assert [asked for asked in gate.server.asked if asked.method == "POST"] == []  # it is looked for (T4), and no more


def test_signed_and_not_published(daemon: Running, gate: Gate) -> None:
    """The decision was durable before the log was asked; the post that hung is nobody's any more. That the log has
    nothing is not said at once: what hung might still be taken."""
    gate.before = held = Held()
    caller = Caller(daemon, 2)
    assert held.arrived.wait(20)
    assert kinds(daemon) == ["decided"]
    killed(daemon)
    closed_as_unknown(daemon, caller)
    until(lambda: any(asked.path.endswith("/checkpoint") for asked in gate.server.asked), 20)
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state}/outbox.sqlite?mode=ro", uri=True)) as database:
        until(lambda: database.execute("SELECT due_at > at FROM lookups").fetchall() == [(1,)], 20)
    assert "looked_up" not in kinds(daemon)
    held.let_go.set()


def test_a_second_kill_forgets_nothing_of_the_first(daemon: Running, gate: Gate) -> None:
    """Killed when the record is closed, and before the log was looked into."""
    gate.after = held = Held()
    caller = Caller(daemon, 9)
    assert held.arrived.wait(20)
    gate.reading = looking = Held()
    killed(daemon)
    closed_as_unknown(daemon, caller)
    assert looking.arrived.wait(20)
    pid = daemon.child("sealer")
    os.kill(pid, signal.SIGKILL)
    daemon.child("sealer", other_than=pid)
    for each in (held, looking):
        each.let_go.set()
    assert [leaf["state"] for leaf in looked_up(daemon)] == ["found"]


def test_published_and_not_recorded(daemon: Running, gate: Gate) -> None:
    """The log has the entry, and the record says whose decision it was and that nobody knows how it ended."""
    gate.after = held = Held()
    caller = Caller(daemon, 3)
    assert held.arrived.wait(20)
    assert kinds(daemon) == ["decided"]
    killed(daemon)
    held.let_go.set()
    closed_as_unknown(daemon, caller)
    (post,) = [asked for asked in gate.server.asked if asked.method == "POST"]
    decided = next(json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["kind"] == "decided")  # type: ignore[call-overload]
    assert decided["decision"]["transparency"] == "required"
    assert decided["request"]["subjects"][0]["name"] == "app-3"
    # The start has looked for what nobody had heard of, and the log of records says where it stands.
    (looked,) = looked_up(daemon)
    assert (looked["record"], looked["publisher"], looked["state"]) == (decided["audit_id"], "rekor", "found")
    (entry,) = looked["entries"]
    assert entry["keyid"] == decided["decision"]["keys"][0]["keyid"]
    # Whoever asks again has the same signature (RFC 6979), and so the entry that was made then.
    again = Caller(daemon, 3).ended()
    assert isinstance(again, Signed)
    assert gate.accepted[-1] == 409
    assert gate.server.asked[-1].method == "GET"
    (logged,) = parse_bundle(again.bundles[0]).log_entries
    assert (logged.log_index, logged.log_id.hex()) == (entry["log_index"], entry["log_id"])
    assert hashlib.sha256(logged.body).hexdigest() == entry["entry_sha256"]
    assert [asked.body for asked in gate.server.asked if asked.method == "POST"] == [post.body, post.body]


@pytest.mark.parametrize("where", ["before", "after"])
def test_what_was_promised_for_later_comes_after_a_kill(where: str, daemon: Running, gate: Gate) -> None:
    """Before the log has it, or when it does and nobody has heard: published once, and told."""
    held = Held()
    setattr(gate, where, held)
    one = Caller(daemon, 4 if where == "before" else 5, "async").ended()
    assert isinstance(one, Signed)
    assert held.arrived.wait(20)
    killed(daemon)
    held.let_go.set()
    until(lambda: "published" in kinds(daemon), 30)
    told = [json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["kind"] == "published"]  # type: ignore[call-overload]
    assert [leaf["record"] for leaf in told] == [one.result.receipt.audit_id]
    assert sorted(set(gate.accepted)) in ([201], [201, 409])


def test_what_was_promised_comes_although_the_log_is_down_for_a_while(daemon: Running, gate: Gate) -> None:
    down = threading.Event()

    def refuse() -> None:
        if not down.is_set():
            raise ConnectionResetError

    gate.before = refuse
    one = Caller(daemon, 6, "async").ended()
    assert isinstance(one, Signed)
    until(lambda: "outbox: rekor: transparency.unavailable" in daemon.said, 20)
    assert "published" not in kinds(daemon)
    down.set()
    until(lambda: "published" in kinds(daemon), 30)


def test_the_publisher_is_killed(daemon: Running, gate: Gate) -> None:
    """Who waits for it is told; it comes back by itself."""
    gate.before = held = Held()
    caller = Caller(daemon, 7)
    assert held.arrived.wait(20)
    os.kill(daemon.child("publisher"), signal.SIGKILL)
    error = caller.ended()
    assert isinstance(error, SignerdError)
    assert (error.code, error.reason) == ("transparency.unavailable", "worker_died")
    held.let_go.set()
    gate.before = lambda: None
    until(lambda: daemon.said.count(" is up") >= 2, 20)
    assert isinstance(Caller(daemon, 8).ended(), Signed)
    with contextlib.suppress(AssertionError):
        until(lambda: sorted(map(tuple, records(daemon).values())) == [("fault",), ("signed",)], 5)
    assert sorted(map(tuple, records(daemon).values())) == [("fault",), ("signed",)]
