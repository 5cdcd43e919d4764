"""Signatures that Python itself verifies, on their way through the sealer: aside, and still before any release."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fakes.sealing import Bench, HandClock, SoftKey, open_here
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.host.memfd import sealed_memfd
from signerd.sealer import judging
from signerd.sealer.signatures import verified
from signerd.verification.bundle import verify_envelope
from signerd.verification.gost import LARGEST_MESSAGE
from signerd.wire.links import Close
from signerd.wire.params import Descriptor

PAYLOAD = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://example.org/p",'
    b'"subject":[{"digest":{"sha256":"' + b"b" * 64 + b'"},"name":"s"}]}'
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(SoftKey(), SoftKey("gost:a", "GOST3410-2012-256"), SoftKey("gost:b", "GOST3410-2012-512"))
    yield made
    made.close()


def test_both_signatures_are_released_once_they_verified(bench: Bench) -> None:
    one = bench.admit(PAYLOAD, profile="dsse")
    bench.turn()
    bench.backend.answer()
    assert one not in bench.outcomes()
    bench.settle()
    ok = bench.outcomes()[one].ok
    assert ok is not None
    assert isinstance(ok.envelope, bytes)
    assert verify_envelope(ok.envelope, [key.public for key in bench.keys], threshold=3).verified
    bench.sealing.close(Close(one, "signed"))
    bench.turn()
    assert bench.kinds(one) == ["decided", "outcome:signed"]


def test_they_are_verified_in_another_thread_than_the_loop_s(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: dict[str, str] = {}

    def watched(job, place, result, now_ms):  # type: ignore[no-untyped-def]
        where[job.keys[place].entry.key] = threading.current_thread().name
        return verified(job, place, result, now_ms)

    monkeypatch.setattr(judging, "verified", watched)
    bench.admit(PAYLOAD, profile="dsse")
    bench.turn()
    bench.backend.answer()
    bench.settle()
    assert where == {
        "file:default": threading.current_thread().name,
        "gost:a": "aside",
        "gost:b": "aside",
    }


@pytest.mark.parametrize("reference", ["gost:a", "gost:b"])
@pytest.mark.parametrize("spoil", ["reversed", "swapped", "each reversed", "flipped", "short", "nothing"])
def test_any_other_signature_releases_nothing_and_condemns_the_worker(
    bench: Bench, reference: str, spoil: str
) -> None:
    def spoiled(signature: bytes) -> bytes:
        half = len(signature) // 2
        s, r = signature[:half], signature[half:]
        return {
            "reversed": signature[::-1],
            "swapped": r + s,
            "each reversed": s[::-1] + r[::-1],
            "flipped": signature[:-1] + bytes([signature[-1] ^ 1]),
            "short": signature[:-1],
            "nothing": b"",
        }[spoil]

    one = bench.admit(PAYLOAD, profile="dsse")
    bench.turn()
    bench.backend.answer(spoiled, of=reference)
    bench.backend.answer()
    bench.settle()
    bench.turn()
    error = bench.outcomes()[one].error
    assert error is not None
    assert (error.code, error.reason) == ("key.backend_fault", "signature_refused")
    assert reference in bench.backend.condemned[0]
    assert bench.kinds(one) == ["decided", "outcome:fault:key.backend_fault"]


@pytest.mark.parametrize("wrong", ["over SHA-256", "another parameter set"])
def test_a_signature_over_another_hash_or_of_another_curve(bench: Bench, wrong: str) -> None:
    key = bench.keys[1]
    message = pae(PAYLOAD_TYPE, PAYLOAD)
    other = SoftKey("gost:other", "GOST3410-2012-256")
    sign = {
        "over SHA-256": lambda _: key.private.sign_digest(hashlib.sha256(message).digest()),  # type: ignore[union-attr]
        "another parameter set": lambda _: other.sign(message),
    }[wrong]
    one = bench.admit(PAYLOAD, profile="dsse")
    bench.turn()
    bench.backend.answer(sign, of="gost:a")
    bench.settle()
    assert bench.outcomes()[one].error is not None
    assert bench.backend.condemned


def test_what_is_given_up_while_it_is_verified_frees_every_descriptor(bench: Bench) -> None:
    bench.settle()
    before = open_here()
    payload = PAYLOAD + b" " * 300_000
    fd = sealed_memfd("payload", payload)
    one = bench.admit(Descriptor(0, len(payload)), fd, profile="dsse")
    bench.settle()
    bench.turn()
    bench.backend.answer()
    bench.sealing.close(Close(one, "cancelled", "request.cancelled"))
    assert open_here() > before
    bench.settle()
    bench.turn()
    assert bench.kinds(one) == ["decided", "outcome:cancelled:request.cancelled"]
    bench.settle()
    assert open_here() == before


def test_a_large_payload_is_signed_too(bench: Bench) -> None:
    payload = PAYLOAD + b" " * 300_000
    fd = sealed_memfd("payload", payload)
    one = bench.admit(Descriptor(0, len(payload)), fd, profile="dsse")
    bench.settle()
    bench.turn()
    bench.backend.answer()
    bench.settle()
    bench.settle()
    ok = bench.outcomes()[one].ok
    assert ok is not None
    assert isinstance(ok.envelope, Descriptor)
    fds = next(fds for outcome, fds in bench.sealing.answers.ready if outcome.audit_id == one)
    envelope = os.pread(fds[ok.envelope.fd], ok.envelope.size, 0)
    assert len(envelope) > len(payload)


def test_what_no_gost_key_signs_is_refused_before_it_is_hashed(bench: Bench) -> None:
    size = LARGEST_MESSAGE - len(b"DSSEv1 28 application/vnd.in-toto+json 1048576 ")
    refused = bench.admit(b"x" * (size + 1), profile="dsse")
    bench.turn()
    error = bench.outcomes()[refused].error
    assert error is not None
    assert (error.code, error.reason) == ("request.too_large", "gost_payload_too_large")
    assert bench.kinds(refused) == ["refused:refused:request.too_large"]
    taken = bench.admit(b"x" * size, profile="dsse")
    assert taken not in bench.outcomes()


def test_the_front_end_hears_each_second_of_what_is_still_verified(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def waiting(job, place, result, now_ms):  # type: ignore[no-untyped-def]
        if job.keys[place].entry.key != "file:default":
            assert go_on.wait(20)
        return verified(job, place, result, now_ms)

    monkeypatch.setattr(judging, "verified", waiting)
    told = bench.sealing.judging
    assert told.next_look() is None
    one = bench.admit(PAYLOAD, profile="dsse")
    bench.turn()
    bench.backend.answer()
    assert told.still() == ()
    assert bench.sealing.next_look() == told.next_look() == bench.clock.monotonic() + 1
    bench.clock.move(1)
    assert told.still() == (one,)
    assert told.still() == ()
    bench.clock.move(1)
    assert told.still() == (one,)
    go_on.set()
    bench.settle()
    bench.clock.move(1)
    assert told.still() == ()
    assert told.next_look() is None
    assert bench.outcomes()[one].ok is not None


def test_what_was_given_up_is_not_verified_any_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, verifications = threading.Event(), []

    def waiting(job, place, result, now_ms):  # type: ignore[no-untyped-def]
        if job.keys[place].entry.key != "file:default":
            verifications.append(job.item.audit_id)
            assert go_on.wait(20)
        return verified(job, place, result, now_ms)

    monkeypatch.setattr(judging, "verified", waiting)
    first, second = bench.admit(PAYLOAD, profile="dsse"), bench.admit(PAYLOAD, profile="dsse")
    bench.turn()
    bench.backend.answer()
    bench.sealing.close(Close(second, "cancelled", "request.cancelled"))
    go_on.set()
    bench.settle()
    bench.turn()
    assert verifications == [first, first]
    assert bench.outcomes()[first].ok is not None
    assert bench.kinds(second) == ["decided", "outcome:cancelled:request.cancelled"]


def test_tenants_take_turns_whoever_of_them_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """T15: a large GOST payload takes the thread for a second or two; whoever sends many of them waits by himself."""
    judged: list[str] = []

    def watched(job: Any, *_: object) -> None:
        judged.append(job.item.audit_id)

    class Thread:
        """Takes work as the thread does, and is given time by hand."""

        def __init__(self) -> None:
            self.works: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

        def run(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
            self.works.append((work, done))

    def job(tenant: str, number: int) -> Any:
        item = SimpleNamespace(audit_id=f"{tenant}{number}", decision=SimpleNamespace(tenant=tenant))
        public = SimpleNamespace(longest_message=1)
        return SimpleNamespace(item=item, keys=[SimpleNamespace(public=public)], aside=0, answered=False, ended="")

    monkeypatch.setattr(judging, "verified", watched)
    thread, told = Thread(), list[str]()
    it = judging.Judging(thread, HandClock())  # type: ignore[arg-type]  # what it needs of a thread
    for one in [*(job("greedy", number) for number in range(6)), job("other", 0), job("third", 0), job("other", 1)]:
        it.judge(one, 0, msgspec.Raw(b""), lambda _, one=one: told.append(one.item.audit_id))  # type: ignore[misc]
    while thread.works:
        work, done = thread.works.pop(0)
        done(work())
    assert judged[:2] == ["greedy0", "greedy1"]
    assert set(judged[2:5]) == {"greedy2", "other0", "third0"}
    assert judged.index("other1") < judged.index("greedy4")
    assert judged == told
    assert len(judged) == 9
    assert it.next_look() is None
