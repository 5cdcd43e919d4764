"""T3: a request is cancelled, hung up on, or runs out of time, wherever it happens to stand.

First at every wait of the story, moved by hand; then against a daemon, in every order that its processes find. Each
request must leave exactly one closed record, and nothing else: no slot of the quota, no descriptor.
"""

import hashlib
import json
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from fakes.services import (
    LIMITS,
    NEEDS_RELEASE,
    TOOL,
    Hand,
    Later,
    PredicateTypeFake,
    World,
    begin,
    order,
    request,
    world,
)
from running.client import Client, Connect, canonical, frame, memfd
from running.configured import open_descriptors, records, until
from running.daemon import Running
from signerd.contracts.services import Charge
from signerd.contracts.values import Entitlement, Release
from signerd.daemon.story import Story
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.evidence import Signed
from signerd.pipeline.waits import DocumentWait, HashWait, ProviderWait, SealWait
from signerd.wire.links import Close, RefusedRecord
from signerd.wire.methods import Descriptor, Subject

LARGE = json.dumps({"ok": True, "text": "x" * (300 << 10)}).encode()
STANDS = [ProviderWait, ProviderWait, HashWait, DocumentWait, SealWait]
"""Where a story with cold caches, a file to hash and a large document stands, one after the other."""
CUTS = [
    ("cancelled", Fault("request.cancelled", "cancelled", "the request was cancelled")),
    ("cancelled", Fault("request.cancelled", "hung_up", "the request was cancelled")),
    ("fault", Fault("request.deadline", "deadline", "the request's time is over")),
]
"""What the daemon throws into a story from outside, and the outcome that stands in its record."""
FAILS = [
    ("refused", Refusal("release.untrusted", "not_listed", "no")),
    ("fault", Fault("internal", "document_worker", "no")),
]
"""What the part that it waits for may throw."""


class Walk:
    """A story of cold caches on its way, and what was open before it began."""

    def __init__(self) -> None:
        self.before = sorted(os.listdir("/proc/self/fd"))
        kind = PredicateTypeFake(NEEDS_RELEASE, ("sbom",), needs_release=True)
        self.world: World = world(
            plan=Later(Entitlement("default", LIMITS, "fake")),
            release=Later(Release(TOOL, "allowlist")),
            types=[kind],
        )
        self.fds = (sealed_memfd("predicate", LARGE), sealed_memfd("subject", b"artefact"))
        asked = request(
            order(predicate=Descriptor(0, len(LARGE)), subject=(Subject("artefact", fd=1, size=8),)),
            fds=self.fds,
        )
        self.story: Story
        self.hand: Hand
        self.story, self.hand = begin(asked, self.world)

    def move(self, steps: int) -> None:
        for _ in range(steps):
            self.hand.move(self.story, self.world)

    def stop_waiting(self) -> None:
        """What the story waits for has ended, in whatever way."""
        assert self.hand.wait is not None
        self.hand.forget(self.story, self.hand.wait)

    def leaves_nothing(self) -> None:
        """The request's own descriptors are its session's to close; nothing else may be left."""
        for fd in self.fds:
            os.close(fd)
        assert sorted(os.listdir("/proc/self/fd")) == self.before
        charge = Charge("acme", "default", None, 1, None, LIMITS.concurrency)
        assert self.world.quotas.peek(charge).concurrency == LIMITS.concurrency
        assert self.world.deadlines.open == set()


@pytest.fixture
def walk() -> Iterator[Walk]:
    made = Walk()
    yield made
    made.leaves_nothing()


def test_these_are_all_the_waits(walk: Walk) -> None:
    stood = []
    while walk.hand.wait is not None:
        stood.append(type(walk.hand.wait))
        walk.move(1)
    assert stood == STANDS
    assert isinstance(walk.hand.ends[0], Signed)
    assert walk.world.ledger.written == []


@pytest.mark.parametrize("place", range(len(STANDS)), ids=[stand.__name__ for stand in STANDS])
@pytest.mark.parametrize(("outcome", "error"), CUTS, ids=["cancel", "hang-up", "deadline"])
def test_cut_short_at_every_wait(walk: Walk, place: int, outcome: str, error: SignerdError) -> None:
    walk.move(place)
    stood = walk.hand.wait
    assert type(stood) is STANDS[place]
    walk.story.cut_short(error)
    assert walk.hand.forgotten == [stood]
    closed_once(walk, place, outcome, error)
    walk.story.cut_short(Fault("request.deadline", "deadline", "again"))
    closed_once(walk, place, outcome, error)


@pytest.mark.parametrize("place", range(len(STANDS)), ids=[stand.__name__ for stand in STANDS])
@pytest.mark.parametrize(("outcome", "error"), FAILS, ids=["refusal", "fault"])
def test_what_it_waits_for_fails_at_every_wait(walk: Walk, place: int, outcome: str, error: SignerdError) -> None:
    walk.move(place)
    walk.stop_waiting()
    walk.story.throw(error)
    closed_once(walk, place, outcome, error)


@pytest.mark.parametrize("place", range(len(STANDS)), ids=[stand.__name__ for stand in STANDS])
@pytest.mark.parametrize("foreign", [RuntimeError("x"), MemoryError(), RecursionError()])
def test_a_defect_at_every_wait_is_on_the_record(walk: Walk, place: int, foreign: Exception) -> None:
    walk.move(place)
    walk.stop_waiting()
    walk.story.throw(foreign)  # type: ignore[arg-type]  # what the contract forbids
    (end,) = walk.hand.ends
    assert isinstance(end, Fault)
    assert (end.code, end.reason) == ("internal", "defect")
    assert len(walk.world.ledger.written) == 1


def closed_once(walk: Walk, place: int, outcome: str, error: SignerdError) -> None:
    assert walk.hand.ends == [error]
    (written,) = walk.world.ledger.written
    assert (written.outcome, written.code) == (outcome, error.code)
    if STANDS[place] is SealWait:
        assert isinstance(written, Close)
    else:
        assert isinstance(written, RefusedRecord)
        assert written.reason == error.reason


# Against a daemon.


SUBJECT = b"subject"
DOCUMENT = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}'.ljust(300 << 10)
SEED = 3
TINY = (1, 1, 2, 5, 40)
"""Milliseconds."""


def kinds(sbom: dict[str, Any]) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Requests that wait for the sealer, for a file to be hashed, and for the document worker."""
    return [
        (sbom, []),
        ({**sbom, "subject": [{"name": "a", "fd": 0, "size": len(SUBJECT)}]}, [SUBJECT]),
        ({**sbom, "predicate": DOCUMENT}, []),
        ({**sbom, "predicate": {"fd": 0, "size": len(DOCUMENT)}}, [DOCUMENT]),
        ({**sbom, "subject": []}, []),
    ]


def ask(client: Client, kind: tuple[dict[str, Any], list[bytes]], **more: Any) -> int:
    params, contents = kind
    fds = [memfd(content) for content in contents]
    try:
        return client.ask("sign.dsse", params, fds, **more)
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def quiet(daemon: Running, sbom: dict[str, Any]) -> Iterator[Running]:
    """The daemon, which must come out as it went in: records closed once, no process lost, no descriptor."""
    with Client(daemon.socket) as client:
        client.greet()
        for kind in kinds(sbom):
            client.take() if ask(client, kind) else None
    processes = daemon.children()
    known = set(records(daemon))
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))
    counted = {pid: open_descriptors(pid) for pid in (daemon.pid, processes["sealer"])}
    yield daemon
    until(lambda: all(len(found) == 1 for found in records(daemon).values()))
    assert set(records(daemon)) > known
    until(lambda: all(open_descriptors(pid) <= count for pid, count in counted.items()))
    assert daemon.children() == processes
    assert "Traceback" not in daemon.said
    complete(daemon)


def complete(daemon: Running) -> None:
    """Every record is one ``refused`` leaf, or a ``decided`` and an ``outcome`` leaf after it."""
    leaves: dict[str, list[str]] = {}
    for row in daemon.leaves():
        if row["audit_id"]:
            leaves.setdefault(str(row["audit_id"]), []).append(str(row["kind"]))
    assert set(map(tuple, leaves.values())) <= {("refused",), ("decided", "outcome")}


def ends(daemon: Running, known: set[str], count: int) -> Counter[str]:
    """How the ``count`` requests since ``known`` ended, once all of them have."""

    def found() -> list[list[str]]:
        return [found for audit_id, found in records(daemon).items() if audit_id not in known]

    until(lambda: len(found()) == count and all(len(outcomes) == 1 for outcomes in found()))
    return Counter(outcome for outcomes in found() for outcome in outcomes)


def test_cancels_at_any_time(quiet: Running, connect: Connect, sbom: dict[str, Any]) -> None:
    chance = random.Random(SEED)
    known = set(records(quiet))
    answers: Counter[str] = Counter()
    for _ in range(6):
        client = connect()
        client.greet()
        asked = [ask(client, chance.choice(kinds(sbom))) for _ in range(12)]
        chance.shuffle(asked)
        for number, request_id in enumerate(asked):
            client.put({"type": "cancel", "id": request_id})
            if number % 4 == 0:
                answers[told(client)] += 1
        for _ in range(len(asked) - 3):
            answers[told(client)] += 1
    assert set(answers) <= {"signed", "request.cancelled", "statement.invalid"}
    found = ends(quiet, known, 72)
    # Whatever was answered has its record, one for one; a signature that came too late is on the record too.
    assert found["signed"] == answers["signed"]
    assert found["refused"] == answers["statement.invalid"]
    assert found["cancelled"] + found["signed_undelivered"] == answers["request.cancelled"]


def told(client: Client) -> str:
    answer = client.take()
    assert answer is not None
    return "signed" if answer["type"] == "response" else str(answer["code"])


@pytest.mark.parametrize("large", [False, True])
def test_a_cancel_in_the_same_breath(quiet: Running, connect: Connect, sbom: dict[str, Any], large: bool) -> None:
    """Both are read at once, so that the story is cut short before anything that it waits for has begun."""
    known = set(records(quiet))
    client = connect()
    client.greet()
    params = {**sbom, "predicate": DOCUMENT} if large else sbom
    messages = [
        {"type": "request", "id": 7, "method": "sign.dsse", "params": params},
        {"type": "cancel", "id": 7},
    ]
    client.socket.sendall(b"".join(map(frame, messages)))
    assert told(client) in ({"signed", "request.cancelled"} if large else {"request.cancelled"})
    assert sum(ends(quiet, known, 1).values()) == 1


@pytest.mark.parametrize("role", ["sealer", "document"])
def test_cut_short_while_a_process_stands_still(
    quiet: Running, connect: Connect, sbom: dict[str, Any], role: str
) -> None:
    known = set(records(quiet))
    client, leaver = connect(), connect()
    client.greet()
    leaver.greet()
    kind = kinds(sbom)[2 if role == "document" else 0]
    pid = quiet.child(role)
    os.kill(pid, signal.SIGSTOP)
    try:
        cancelled = ask(client, kind)
        late = ask(client, kind, deadline_ms=50)
        ask(leaver, kind)
        leaver.close()
        client.put({"type": "cancel", "id": cancelled})
        answers = [client.take() for _ in range(2)]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert {answer["id"]: answer["code"] for answer in answers if answer} == {
        cancelled: "request.cancelled",
        late: "request.deadline",
    }
    found = ends(quiet, known, 3)
    # The sealer may have signed before it reads that nobody waits any more: then that is on the record.
    assert set(found) <= {"cancelled", "fault"} | ({"signed_undelivered"} if role == "sealer" else set())
    assert found["cancelled"] <= 2
    assert found["fault"] <= 1


@pytest.mark.parametrize("shut", ["close", "half"])
def test_hang_ups_at_any_time(quiet: Running, sbom: dict[str, Any], shut: str) -> None:
    chance = random.Random(SEED)
    known = set(records(quiet))
    for _ in range(15):
        with Client(quiet.socket) as client:
            client.greet()
            for _ in range(chance.randint(1, 6)):
                ask(client, chance.choice(kinds(sbom)))
            for _ in range(chance.randint(0, 1)):
                client.take()
            if shut == "half":
                client.socket.shutdown(socket.SHUT_WR)
                while client.take() is not None:
                    pass
    # How many of them were read before the end was is the kernel's business.
    until(lambda: len(set(records(quiet)) - known) >= 15)
    found = {end for audit_id, ends in records(quiet).items() if audit_id not in known for end in ends}
    assert found <= {"signed", "signed_undelivered", "cancelled", "refused"}


def test_deadlines_at_any_time(quiet: Running, connect: Connect, sbom: dict[str, Any]) -> None:
    chance = random.Random(SEED)
    known = set(records(quiet))
    client = connect()
    client.greet()
    answers: Counter[str] = Counter()
    for _ in range(8):
        asked = [ask(client, chance.choice(kinds(sbom)), deadline_ms=chance.choice((1, 1, 2, 5, 40))) for _ in range(8)]
        for _ in asked:
            answers[told(client)] += 1
    assert set(answers) <= {"signed", "request.deadline", "statement.invalid"}
    found = ends(quiet, known, 64)
    assert found["signed"] == answers["signed"]
    assert found["refused"] == answers["statement.invalid"]
    assert found["fault"] + found["signed_undelivered"] == answers["request.deadline"]


def test_the_items_of_a_batch_end_each_on_its_own_record(
    quiet: Running, connect: Connect, sbom: dict[str, Any]
) -> None:
    known = set(records(quiet))
    client = connect()
    client.greet()
    sealer = quiet.child("sealer")
    os.kill(sealer, signal.SIGSTOP)
    try:
        request_id = client.ask("sign.batch", {"items": [sbom, {**sbom, "subject": []}, sbom]})
        client.put({"type": "cancel", "id": request_id})
    finally:
        os.kill(sealer, signal.SIGCONT)
    answer = client.take()
    assert answer is not None
    codes = [outcome["error"]["code"] for outcome in answer["result"]["outcomes"]]
    assert codes == ["request.cancelled", "statement.invalid", "request.cancelled"]
    found = ends(quiet, known, 3)
    assert found["refused"] == 1
    assert found["cancelled"] + found["signed_undelivered"] == 2


def test_the_receipt_is_what_is_on_record(quiet: Running, connect: Connect, sbom: dict[str, Any]) -> None:
    client = connect()
    client.greet()
    receipt = client.result("sign.dsse", sbom)["receipt"]
    (row,) = [row for row in quiet.leaves() if row["leaf_index"] == receipt["index"]]
    leaf = row["leaf"]
    assert isinstance(leaf, bytes)
    assert json.loads(leaf)["decision"] == receipt["decision"]
    assert hashlib.sha256(canonical(receipt["decision"])).hexdigest() == receipt["decision_digest"]
    assert hashlib.sha256(b"\0" + leaf).hexdigest() == receipt["leaf_hash"]
