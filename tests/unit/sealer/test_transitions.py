from typing import Any

import pytest
from msgspec.structs import replace

from signerd.contracts.validity import check_validity, status_at
from signerd.errors import Refusal
from signerd.sealer.transitions import changed, check_new, check_order, new_version
from signerd.wire.orders import KeyOrder
from signerd.wire.ring import RingEntry

NOW = 1_000_000
V1 = RingEntry("file:a", "local", 1, "sha256:1", "ES256", b"1", "file", "active", 1000)
MADE = RingEntry("file:a", "local", 1, "sha256:2", "ES256", b"2", "file", "active", 0, handle="file:a.v2")


def order(operation: Any, **fields: Any) -> KeyOrder:
    return KeyOrder(operation, "file:a", "because", **fields)


def refused(given: KeyOrder, *versions: RingEntry) -> str:
    with pytest.raises(Refusal) as caught:
        changed(given, versions, NOW)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (order("suspend", algorithm="ES256"), "field"),
        (order("revoke", handle="file:b"), "field"),
        (order("revoke", cause="superseded", invalid_since=5), "field"),
        (order("generate", version=1), "field"),
        (order("rotate", cause="unspecified"), "field"),
        (order("revoke", cause="compromised", invalid_since=NOW + 1), "invalid_since"),
        (order("rotate", overlap_s=-1), "overlap"),
        (order("retire", version=-1), "overlap"),
        (KeyOrder("retire", "file:a", "x" * 1001), "reason_length"),
        (KeyOrder("retire", "file:a", "", by="x" * 1001), "reason_length"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(given: KeyOrder, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_order(given, NOW)
    assert (caught.value.code, caught.value.reason) == ("request.malformed", reason)


@pytest.mark.parametrize(
    "given",
    [
        order("generate", algorithm="ES384"),
        order("rotate", algorithm="ES256", handle="file:b", overlap_s=60),
        order("revoke", version=1, cause="compromised", invalid_since=NOW),
        order("suspend", version=2),
    ],
)
def test_fields_of_the_operation_go(given: KeyOrder) -> None:
    check_order(given, NOW)


def test_a_key_is_generated_once_and_rotated_only_if_it_is_there() -> None:
    check_new(order("generate"), [])
    check_new(order("rotate"), [V1])
    with pytest.raises(Refusal, match=r"request\.conflict"):
        check_new(order("generate"), [V1])
    with pytest.raises(Refusal, match=r"key\.not_found"):
        check_new(order("rotate"), [])


def test_a_new_version_is_active_and_the_old_one_finishes_its_decisions() -> None:
    new, old = new_version(order("rotate", overlap_s=60), [V1], MADE, NOW)
    assert new == replace(MADE, version=2, added_at=NOW)
    assert old == replace(V1, status="retiring", retire_at=NOW + 60_000)
    check_validity(old, NOW + 59_999)
    with pytest.raises(Refusal) as caught:
        check_validity(old, NOW + 60_000)
    assert (caught.value.code, caught.value.reason) == ("key.expired", "retired")


def test_without_an_overlap_the_old_version_ends_at_once() -> None:
    _, old = new_version(order("rotate"), [V1], MADE, NOW)
    assert status_at(old, NOW) == "retired"


def test_another_rotation_never_gives_an_old_version_more_time() -> None:
    retiring = replace(V1, status="retiring", retire_at=NOW + 10_000)
    second = replace(MADE, version=2)
    changes = new_version(order("rotate", overlap_s=60), [retiring, second], replace(MADE, keyid="sha256:3"), NOW)
    assert [(entry.version, entry.status, entry.retire_at) for entry in changes] == [
        (3, "active", 0),
        (2, "retiring", NOW + 60_000),
    ]
    changes = new_version(order("rotate", overlap_s=1), [retiring, second], replace(MADE, keyid="sha256:3"), NOW)
    assert (changes[1].version, changes[1].retire_at) == (1, NOW + 1000)


def test_what_ended_stays_as_it_is_when_a_new_version_comes() -> None:
    ended = [replace(V1, status="revoked", revoked_at=5), replace(V1, version=2, status="retired", retire_at=5)]
    assert len(new_version(order("rotate"), ended, MADE, NOW)) == 1


def test_a_suspended_version_that_was_rotated_comes_back_only_to_finish() -> None:
    suspended = replace(V1, status="suspended")
    _, old = new_version(order("rotate", overlap_s=60), [suspended], MADE, NOW)
    assert (old.status, old.retire_at) == ("suspended", NOW + 60_000)
    back = changed(order("resume", version=1), [old], NOW)
    assert back.status == "retiring"
    assert status_at(back, NOW + 60_000) == "retired"


@pytest.mark.parametrize(
    ("operation", "status", "after"),
    [
        ("suspend", "active", "suspended"),
        ("suspend", "retiring", "suspended"),
        ("resume", "suspended", "active"),
        ("retire", "active", "retired"),
        ("retire", "suspended", "retired"),
        ("revoke", "active", "revoked"),
        ("revoke", "suspended", "revoked"),
        ("revoke", "retired", "revoked"),
    ],
)
def test_what_may_follow_what(operation: Any, status: str, after: str) -> None:
    entry = replace(V1, status=status, retire_at=NOW + 5 if status == "retiring" else 0)
    result = changed(order(operation), [entry], NOW)
    assert result.status == after
    assert (result.keyid, result.version, result.added_at) == (V1.keyid, 1, 1000)
    assert (result.revoked_at, result.retire_at) == (
        NOW if after == "revoked" else 0,
        NOW if after == "retired" else entry.retire_at,
    )


@pytest.mark.parametrize("cause", ["", "unspecified", "superseded", "cessation"])
@pytest.mark.parametrize(("given", "since"), [({"invalid_since": 7}, 7), ({}, 1000)])
def test_what_was_revoked_can_turn_out_to_be_compromised(cause: str, given: Any, since: int) -> None:
    before = replace(V1, status="revoked", revoked_at=5, cause=cause)
    after = changed(order("revoke", cause="compromised", **given), [before], NOW)
    assert after == replace(before, cause="compromised", invalid_since=since), "it ended when it ended"
    for again in ("", "unspecified", "superseded", "cessation", "compromised"):
        assert refused(order("revoke", cause=again), after) == "key.revoked revoked"
    assert refused(order("revoke", cause="compromised", invalid_since=NOW), after) == "key.revoked revoked"


@pytest.mark.parametrize("cause", ["", "unspecified", "superseded", "cessation"])
def test_no_other_cause_follows_the_first(cause: Any) -> None:
    before = replace(V1, status="revoked", revoked_at=5, cause="unspecified")
    assert refused(order("revoke", cause=cause), before) == "key.revoked revoked"


@pytest.mark.parametrize("operation", ["suspend", "resume", "retire", "revoke"])
def test_nothing_follows_revoked(operation: Any) -> None:
    assert refused(order(operation), replace(V1, status="revoked", revoked_at=5)) == "key.revoked revoked"
    assert refused(order(operation), replace(V1, revoked_at=5)) == "key.revoked revoked"


@pytest.mark.parametrize(
    ("operation", "entry"),
    [
        ("resume", V1),
        ("resume", replace(V1, status="retired")),
        ("suspend", replace(V1, status="suspended")),
        ("suspend", replace(V1, status="retired")),
        ("suspend", replace(V1, status="retiring", retire_at=NOW)),
        ("retire", replace(V1, status="retired")),
        ("retire", replace(V1, status="made up")),
    ],
)
def test_other_transitions_are_a_conflict(operation: Any, entry: RingEntry) -> None:
    assert refused(order(operation), entry) == "request.conflict wrong_status"


def test_a_version_is_named_by_its_number_and_else_the_newest_is_meant() -> None:
    second = replace(MADE, version=2)
    assert changed(order("retire"), [V1, second], NOW).version == 2
    assert changed(order("retire", version=1), [V1, second], NOW).version == 1
    assert refused(order("retire", version=3), V1, second) == "key.not_found no_such_key"
    assert refused(order("retire")) == "key.not_found no_such_key"


@pytest.mark.parametrize(
    ("fields", "cause", "since"),
    [
        ({}, "unspecified", 0),
        ({"cause": "superseded"}, "superseded", 0),
        ({"cause": "compromised", "invalid_since": 7}, "compromised", 7),
        ({"cause": "compromised"}, "compromised", 1000),
    ],
)
def test_a_compromised_key_is_invalid_since_then_or_from_the_first(fields: Any, cause: str, since: int) -> None:
    result = changed(order("revoke", **fields), [V1], NOW)
    assert (result.cause, result.invalid_since) == (cause, since)


