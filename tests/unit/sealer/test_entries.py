"""What is told of a record whose entries come later: from the outbox, to its own tenant alone."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec import UNSET

from fakes.sealing import HandClock, ListStore
from fakes.sigstore import Sigstore, jcs
from signerd.attestation.bundle import keyful_bundle, parse_bundle
from signerd.attestation.dsse import encode_base64
from signerd.attestation.log_entry import parse_log_entry
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.config import embedded
from signerd.host.memfd import check_sealed
from signerd.sealer.entries import INLINE_MOST, MOST_ASKED, EntryDesk, EntryReader
from signerd.sealer.kept import Kept
from signerd.sealer.outbox import Outbox, Row
from signerd.wire.later import LaterEntries
from signerd.wire.links import AdminAnswer, EntryCall
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError

ENTRY = parse_log_entry(jcs(Sigstore().entry2({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}})))
DOWN = CallError("transparency.unavailable", "unreachable", "no")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.outbox = Outbox(folder / "outbox.sqlite", ["log", "gone"], ListStore(), self.clock)  # type: ignore[arg-type]

    def put(self, audit_id: str, *publishers: str, payload: bytes = b"{}", tenant: str = "acme", keys: int = 1) -> None:
        rows, kept = [], []
        for number in range(keys):
            bundle = keyful_bundle(encode_base64(payload), "t", b"signature %d" % number, "hint")
            digest = hashlib.sha256(bundle).hexdigest()
            keyid = f"sha256:{number}"
            rows += [Row(audit_id, tenant, name, keyid, digest, b"d", b"s", b"v") for name in publishers]
            kept.append(Kept(audit_id, tenant, keyid, digest, "envelope", bundle))
        self.outbox.put_many(rows, kept)

    def turn(self, name: str, result: Any) -> None:
        self.outbox.turn({name: lambda row, done: done(result)})
        self.outbox.turn({})

    def read(self, audit_id: str, tenant: str = "acme", logs: tuple[str, ...] = ("log",)) -> LaterEntries:
        reader = EntryReader(self.folder / "outbox.sqlite", logs)
        try:
            return reader.read(tenant, audit_id)
        finally:
            reader.close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_pending_until_it_is_logged(bench: Bench) -> None:
    bench.put("id", "log")
    assert bench.read("id").state == "pending"
    bench.turn("log", DOWN)
    assert bench.read("id").state == "pending"
    bench.clock.move(10)
    bench.turn("log", ENTRY)
    found = bench.read("id")
    (one,) = found.bundles
    assert (found.state, one.state, len(one.entries)) == ("logged", "logged", 1)
    assert parse_bundle(cast("bytes", one.bundle)).log_entries == (ENTRY,)


def test_each_signature_has_its_own_state_and_the_worst_is_that_of_all(bench: Bench) -> None:
    bench.put("id", "log", "gone", keys=2)
    bench.turn("log", ENTRY)
    known = bench.read("id", logs=("log", "gone"))
    assert (known.state, [one.keyid for one in known.bundles]) == ("pending", ["sha256:0", "sha256:1"])
    assert all((len(one.entries), one.bundle) == (1, UNSET) for one in known.bundles), "not whole yet"
    assert bench.read("id", logs=("log",)).state == "failed", "a log that is not configured never answers"


def test_one_that_was_given_up_has_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signerd.sealer.outbox.MOST_ATTEMPTS", 1)
    bench.put("id", "log")
    bench.turn("log", DOWN)
    assert bench.read("id").state == "failed"


@pytest.mark.parametrize(("audit_id", "tenant"), [("id", "other"), ("di", "acme"), ("", "acme"), ("id' --", "acme")])
def test_what_is_not_there_and_what_is_anothers_are_told_alike(audit_id: str, tenant: str, bench: Bench) -> None:
    bench.put("id", "log")
    with pytest.raises(Refusal) as refused:
        bench.read(audit_id, tenant)
    assert (refused.value.code, refused.value.reason) == ("request.malformed", "no_entry")


class Hands:
    """The sealer's process, at once."""

    def __init__(self) -> None:
        self.answers: list[tuple[AdminAnswer, tuple[int, ...]]] = []

    def answer(self, answer: AdminAnswer, fds: tuple[int, ...]) -> None:
        self.answers.append((answer, fds))

    def aside(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        try:
            result = work()
        except SignerdError as error:
            result = error
        done(result)


def desk(folder: Path, hands: Hands) -> EntryDesk:
    return EntryDesk(hands, folder, embedded(folder, folder / "sock", []))


def test_large_bundles_go_by_memfd(bench: Bench, tmp_path: Path) -> None:
    bench.put("id", "log", payload=b"x" * INLINE_MOST)
    bench.put("small", "log")
    bench.turn("log", ENTRY)
    hands = Hands()
    for number, audit_id, most in ((1, "id", 1 << 30), (2, "small", 1 << 30), (3, "small", 0)):
        desk(tmp_path, hands).call(EntryCall(number, "acme", audit_id, most))
    shapes = []
    for answer, fds in hands.answers:
        found = msgspec.msgpack.decode(answer.result, type=LaterEntries)
        bundle = found.bundles[0].bundle
        shapes.append((answer.id, isinstance(bundle, bytes), len(fds)))
        if isinstance(bundle, Descriptor):
            check_sealed(fds[0], bundle.size, 1 << 30)
            assert hashlib.sha256(os.pread(fds[0], bundle.size, 0)).hexdigest() == found.bundles[0].complete_sha256
        for fd in fds:
            os.close(fd)
    assert shapes == [(1, False, 1), (2, True, 0), (3, False, 1)]


def test_bundles_that_are_too_large_together_go_by_memfd_all(bench: Bench, tmp_path: Path) -> None:
    """A frame above 4 MiB would end the link, and the sealer with it."""
    bench.put("id", "log", payload=b"x" * 150_000, keys=20)
    for _ in range(20):
        bench.turn("log", ENTRY)
    hands = Hands()
    desk(tmp_path, hands).call(EntryCall(1, "acme", "id", 1 << 30))
    ((answer, fds),) = hands.answers
    found = msgspec.msgpack.decode(answer.result, type=LaterEntries)
    assert [one.bundle.fd for one in found.bundles if isinstance(one.bundle, Descriptor)] == [*range(20)]
    assert len(fds) == 20
    for fd in fds:
        os.close(fd)


def memfds() -> int:
    """How many memfds of bundles this process has open."""
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return sum(str(link.readlink()).startswith("/memfd:bundle") for link in links if link.is_symlink())


def test_an_answer_that_fits_no_frame_is_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("id", "log", keys=2)
    for _ in range(2):
        bench.turn("log", ENTRY)
    monkeypatch.setattr("signerd.sealer.entries.FRAME_ROOM", 500)
    before = memfds()
    hands = Hands()
    desk(tmp_path, hands).call(EntryCall(1, "acme", "id", 1 << 30))
    ((answer, fds),) = hands.answers
    assert answer.error is not None
    assert (answer.error.code, answer.error.reason, fds) == ("request.too_large", "answer_too_large", ())
    assert memfds() == before


def test_a_tenant_asks_for_so_many_at_once(tmp_path: Path) -> None:
    class Slow(Hands):
        """What is asked of it is done when it is told to."""

        def __init__(self) -> None:
            super().__init__()
            self.waiting: list[Callable[[], None]] = []

        def aside(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
            self.waiting.append(lambda: super(Slow, self).aside(work, done))

    hands = Slow()
    reading = desk(tmp_path, hands)
    for number in range(MOST_ASKED + 1):
        reading.call(EntryCall(number, "acme", "id", 0))
    reading.call(EntryCall(99, "other", "id", 0))
    ((answer, _),) = hands.answers
    assert answer.error is not None
    assert (answer.id, answer.error.code, answer.error.reason) == (MOST_ASKED, "daemon.overloaded", "entries_asked")
    assert len(hands.waiting) == MOST_ASKED + 1
    hands.waiting.pop(0)()
    reading.call(EntryCall(100, "acme", "id", 0))
    assert len(hands.waiting) == MOST_ASKED + 1


def test_without_an_outbox_there_is_no_record(tmp_path: Path) -> None:
    hands = Hands()
    desk(tmp_path, hands).call(EntryCall(7, "acme", "id", 0))
    ((answer, _),) = hands.answers
    assert answer.error is not None
    assert (answer.id, answer.error.code, answer.error.reason) == (7, "request.malformed", "no_entry")


def test_an_outbox_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").write_bytes(b"no database, and long enough to be none" * 50)
    with pytest.raises(Fault) as raised:
        EntryReader(tmp_path / "outbox.sqlite", []).read("acme", "id")
    assert (raised.value.code, raised.value.reason) == ("transparency.unavailable", "outbox_corrupt")
