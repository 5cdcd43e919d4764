import dataclasses
import os
from collections.abc import Iterator

import msgspec
import pytest

from fakes.sealing import NOW, Bench, SoftKey
from signerd.attestation.algorithms import ALGORITHMS, COSE_ALGORITHMS, COSIGN_ALGORITHMS
from signerd.host.memfd import sealed_memfd
from signerd.sealer.admission import LONGEST_ID, check_id, check_payload, keys_of, refusal_of
from signerd.sealer.job import Job, Violation
from signerd.wire.links import SealItem
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError

replace = msgspec.structs.replace


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(SoftKey(), SoftKey("file:second"))
    yield made
    made.close()


def decided(item: SealItem, **changes: object) -> SealItem:
    return replace(item, decision=replace(item.decision, **changes))


@pytest.mark.parametrize("audit_id", ["", "a" * (LONGEST_ID + 1), "a-b", "a b", "\u0661", "a\n"])
def test_what_is_no_audit_id(audit_id: str) -> None:
    with pytest.raises(Violation, match="audit_id_shape"):
        check_id(audit_id)


@pytest.mark.parametrize("audit_id", ["a", "Z9" * (LONGEST_ID // 2)])
def test_what_is_one(audit_id: str) -> None:
    check_id(audit_id)


def test_the_pinned_versions_are_those_of_the_decision_in_its_order(bench: Bench) -> None:
    item = bench.item()
    turned = decided(item, keys=item.decision.keys[::-1])
    assert [pinned.entry.key for pinned in keys_of(turned, bench.ring)] == ["file:second", "file:default"]


def test_what_no_honest_front_end_sends(bench: Bench) -> None:
    item = bench.item()
    first = item.decision.keys[0]
    lies = {
        "payload_type": replace(item, payload_type="text/plain"),
        "decision_shape": decided(item, tenant="other"),
        "foreign_key": decided(item, keys=(replace(first, key="file:second"),)),
        "foreign_key_version": decided(item, keys=(replace(first, version=2),)),
    }
    for reason, lie in lies.items():
        with pytest.raises(Violation, match=rf"^{reason}$"):
            keys_of(lie, bench.ring)
    with pytest.raises(Violation, match="decision_shape"):
        keys_of(decided(item, keys=()), bench.ring)
    with pytest.raises(Violation, match=r"^foreign_key$"):
        keys_of(decided(item, keys=(replace(first, keyid="sha256:" + "0" * 64),)), bench.ring)


def test_a_key_of_another_plan_is_foreign(bench: Bench) -> None:
    item = bench.item()
    keyid = item.decision.keys[0].keyid
    bench.ring[keyid] = dataclasses.replace(bench.ring[keyid], plans=frozenset({"gold"}))
    with pytest.raises(Violation, match="foreign_plan"):
        keys_of(item, bench.ring)
    assert keys_of(decided(item, plan="gold"), bench.ring)[0].plans == {"gold"}


def test_a_payload_is_sealed_and_of_the_size_that_is_named(bench: Bench) -> None:
    fd = sealed_memfd("payload", b"12345")
    try:
        check_payload(bench.item(Descriptor(0, 5)), fd)
        for size, reason in ((4, "size_mismatch"), (0, "descriptor_size")):
            with pytest.raises(Violation, match=reason):
                check_payload(bench.item(Descriptor(0, size)), fd)
    finally:
        os.close(fd)


def test_the_ring_is_read_again_each_time(bench: Bench) -> None:
    item = bench.item(principal_expires_at=NOW + 5000)
    job = Job(item, keys_of(item, bench.ring), bench.clock.monotonic() + 10)
    assert refusal_of(job, bench.ring, bench.clock) is None
    keyid = item.decision.keys[1].keyid
    unfit = CallError("key.backend_fault", "key_replaced", "failed")
    bench.ring[keyid] = dataclasses.replace(bench.ring[keyid], unfit=unfit)
    assert refusal_of(job, bench.ring, bench.clock) == unfit
    entry = replace(bench.ring[keyid].entry, status="revoked", revoked_at=NOW)
    bench.ring[keyid] = dataclasses.replace(bench.ring[keyid], entry=entry)
    revoked = refusal_of(job, bench.ring, bench.clock)
    assert revoked is not None
    assert revoked.code == "key.revoked"
    del bench.ring[keyid]  # then what was pinned at admission counts
    assert refusal_of(job, bench.ring, bench.clock) is None
    bench.clock.move(5)
    expired = refusal_of(job, bench.ring, bench.clock)
    assert expired is not None
    assert expired.code == "auth.token_expired"


def test_time_is_the_last_thing_that_is_looked_at(bench: Bench) -> None:
    item = bench.item()
    job = Job(item, keys_of(item, bench.ring), bench.clock.monotonic() + 10)
    bench.clock.move(10)
    late = refusal_of(job, bench.ring, bench.clock)
    assert late is not None
    assert late.code == "request.deadline"


def renamed(bench: Bench, algorithm: str) -> None:
    """Have the ring say that every key is of ``algorithm``: of most that there are, no backend has keys."""
    for keyid, pinned in bench.ring.items():
        bench.ring[keyid] = dataclasses.replace(pinned, entry=replace(pinned.entry, algorithm=algorithm))


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_what_no_bundle_carries_does_not_sign_for_one(bench: Bench, algorithm: str) -> None:
    renamed(bench, algorithm)
    for profile, carried in (("cosign", COSIGN_ALGORITHMS), ("dsse", ALGORITHMS), ("cose", COSE_ALGORITHMS)):
        item = bench.item(profile=profile)
        job = Job(item, keys_of(item, bench.ring), bench.clock.monotonic() + 10)
        error = refusal_of(job, bench.ring, bench.clock)
        if algorithm in carried:
            assert error is None
        else:
            assert error is not None
            assert (error.code, error.reason) == ("key.algorithm_refused", f"not_for_{profile}")
            assert algorithm in error.message


@pytest.mark.parametrize("profile", ["", "cose2", "DSSE", "dsse "])
def test_an_output_profile_that_there_is_not(bench: Bench, profile: str) -> None:
    with pytest.raises(Violation, match=r"^output_profile$"):
        keys_of(bench.item(profile=profile), bench.ring)


@pytest.mark.parametrize(
    "asked", [{"rekor_request": True}, {"transparency": "required"}, {"transparency": "async"}, {"timestamp": True}]
)
def test_nothing_is_published_where_there_is_no_bundle(bench: Bench, asked: dict[str, object]) -> None:
    def item(profile: str) -> SealItem:
        plain = bench.item(profile=profile, rekor_request=bool(asked.get("rekor_request")))
        return decided(plain, **{name: value for name, value in asked.items() if name != "rekor_request"})

    assert len(keys_of(item("dsse"), bench.ring)) == 2
    renamed(bench, "ES384")
    assert len(keys_of(item("cosign"), bench.ring)) == 2
    with pytest.raises(Violation, match=r"^nothing_to_publish$"):
        keys_of(item("dsse"), bench.ring)
    with pytest.raises(Violation, match=r"^nothing_to_publish$"):
        keys_of(item("cose"), bench.ring)
    bare = replace(item("dsse"), payload_type="application/vnd.example+json")
    with pytest.raises(Violation, match=r"^nothing_to_publish$"):
        keys_of(bare, bench.ring)


BARE = "application/vnd.example.record+json"


@pytest.mark.parametrize(
    ("profile", "payload_type"),
    [
        ("cosign", BARE),
        ("cose", BARE),
        ("dsse", ""),
        ("dsse", "text"),
        ("dsse", "text/plain; charset=utf-8"),
        ("dsse", "text/plain\n"),
        ("dsse", "text/" + "x" * 128),
        ("dsse", "t\u00e9xt/plain"),
    ],
)
def test_a_payload_type_that_its_profile_has_no_place_for(bench: Bench, profile: str, payload_type: str) -> None:
    with pytest.raises(Violation, match=r"^payload_type$"):
        keys_of(bench.item(profile=profile, payload_type=payload_type), bench.ring)


def test_a_bare_document_leaves_in_an_envelope(bench: Bench) -> None:
    assert len(keys_of(bench.item(profile="dsse", payload_type=BARE), bench.ring)) == 2


def test_a_message_is_by_keys_that_cose_knows_and_has_no_envelope_beside_it(bench: Bench) -> None:
    with pytest.raises(Violation, match=r"^output_form$"):
        keys_of(bench.item(profile="cose", envelope=True), bench.ring)
    first, *_ = bench.ring
    bench.ring[first] = dataclasses.replace(bench.ring[first], public=None)
    with pytest.raises(Violation, match=r"^output_form$"):
        keys_of(bench.item(profile="cose"), bench.ring)
