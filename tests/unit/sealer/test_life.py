import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from fakes.life import Keys
from signerd.contracts.validity import check_validity
from signerd.errors import Fault, Refusal, SignerdError
from signerd.sealer.admin_leaves import admin_facts
from signerd.sealer.key_spec import KeySpec
from signerd.wire.orders import KeyOrder
from signerd.wire.ring import RingEntry
from signerd_key_file.backend import FileBackend


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path)
    yield made
    made.close()


def leaves(keys: Keys) -> list[dict[str, Any]]:
    return [json.loads(text) for _, text in keys.audit.ring_leaves()]


def test_a_configured_key_is_generated_on_order_and_signs(keys: Keys) -> None:
    (entry,) = keys.done("generate", algorithm="ES384")
    assert (entry.version, entry.status, entry.algorithm, entry.handle) == (1, "active", "ES384", "")
    assert keys.ring.pins[entry.keyid].unfit is None
    assert keys.ring.changes() == (entry,)
    assert keys.store.load() == [entry]
    (leaf,) = leaves(keys)
    assert (leaf["change"], leaf["by"], leaf["reason"], leaf["entry"]["keyid"]) == (
        "generate",
        "uid:0",
        "because",
        entry.keyid,
    )
    assert keys.refused("generate") == "request.conflict exists"


def test_rotation_makes_a_key_beside_the_old_one_which_keeps_its_handle(keys: Keys) -> None:
    (first,) = keys.done("generate")
    new, old = keys.done("rotate", overlap_s=60)
    assert (new.version, new.status, new.handle, new.algorithm) == (2, "active", "file:a.v2", "ES256")
    assert (old.version, old.status, old.name, old.keyid) == (1, "retiring", "file:a", first.keyid)
    assert keys.ring.pins[new.keyid].unfit is None
    assert keys.ring.pins[new.keyid].prehash is True
    assert keys.life.versions("file:a") == (old, new)
    third, _, second = keys.done("rotate", algorithm="Ed25519", overlap_s=30)
    assert (third.version, third.handle, third.algorithm) == (3, "file:a.v3", "Ed25519")
    assert (second.status, second.keyid) == ("retiring", new.keyid)
    assert keys.store.load() == list(keys.life.versions())


def test_a_handle_names_an_object_that_is_there(keys: Keys) -> None:
    keys.done("generate")
    there = FileBackend({"directory": str(keys.folder / "keys")}).generate("file:imported", "Ed25519")
    new, _ = keys.done("rotate", handle="file:imported")
    assert (new.keyid, new.handle, new.algorithm) == (there.keyid, "file:imported", "Ed25519")
    assert keys.refused("rotate", handle="file:imported") == "key.forbidden handle"


@pytest.mark.parametrize(
    "handle", ["file:b", "file:a", "hsm:x", "file:", "imported", "file:a b", "file:" + "a" * 1001, "file:x?pin-value=1"]
)
def test_a_handle_of_another_key_or_backend_is_refused_unasked(keys: Keys, handle: str) -> None:
    keys.done("generate")
    keys.backend.up = False
    assert keys.refused("rotate", handle=handle) == "key.forbidden handle"


def test_the_same_key_under_another_handle_is_known(keys: Keys) -> None:
    keys.done("generate")
    keys.backend.spoil = lambda result: {**result, **first}
    first = {name: getattr(keys.life.versions("file:a")[0], name) for name in ("keyid", "spki", "algorithm")}
    assert keys.refused("rotate") == "request.conflict known_key"
    assert len(keys.life.versions("file:a")) == 1


@pytest.mark.parametrize(
    ("operation", "key", "fields", "told"),
    [
        ("generate", "file:none", {}, "key.not_found no_such_key"),
        ("rotate", "file:none", {}, "key.not_found no_such_key"),
        ("rotate", "file:b", {}, "key.not_found no_such_key"),
        ("suspend", "file:b", {}, "key.not_found no_such_key"),
        ("revoke", "file:a", {"version": 2}, "key.not_found no_such_key"),
        ("resume", "file:a", {}, "request.conflict wrong_status"),
        ("rotate", "file:a", {"algorithm": "RS512"}, "key.algorithm_refused outside_profile"),
        ("rotate", "file:a", {"cause": "superseded"}, "request.malformed field"),
        ("rotate", "file:a", {"handle": "file:nobody"}, "key.not_found no_such_key"),
    ],
)
def test_what_is_refused_changes_nothing(keys: Keys, operation: str, key: str, fields: Any, told: str) -> None:
    (first,) = keys.done("generate")
    assert keys.refused(operation, key, **fields) == told
    assert keys.life.versions() == (first,)
    assert len(leaves(keys)) == 1
    assert not list((keys.folder / "keys").glob("*.v2.pem"))


def test_suspend_resume_revoke_and_retire_are_in_the_log_the_ring_and_the_history(keys: Keys) -> None:
    (first,) = keys.done("generate")
    keys.clock.move(1)
    (suspended,) = keys.done("suspend")
    with pytest.raises(Refusal, match="suspended"):
        check_validity(keys.ring.pins[first.keyid].entry, keys.clock.now_ms())
    (back,) = keys.done("resume")
    assert back == first
    keys.done("rotate")
    (retired,) = keys.done("retire")
    assert (retired.version, retired.status) == (2, "retired")
    since = keys.clock.now_ms() - 500
    (revoked,) = keys.done("revoke", version=1, cause="compromised", invalid_since=since)
    assert (revoked.keyid, revoked.cause, revoked.invalid_since) == (first.keyid, "compromised", since)
    history = keys.life.history("file:a")
    assert [(change.change, change.entry.version) for change in history] == [
        ("generate", 1),
        ("suspend", 1),
        ("resume", 1),
        ("rotate", 2),
        ("rotate", 1),
        ("retire", 2),
        ("revoke", 1),
    ]
    assert history[1].entry == suspended
    assert {change.by for change in history} == {"uid:0"}
    assert keys.life.history() == history
    assert keys.life.history("file:b") == ()
    before = keys.life.versions()
    keys.restart()
    assert keys.life.versions() == before
    assert keys.life.history("file:a") == history


def test_a_key_that_is_no_longer_configured_can_be_revoked_and_makes_no_new_version(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.done("generate")
    keys.specs = (KeySpec("file:b", "local", "soft", "file"),)
    keys.restart()
    assert keys.refused("rotate") == "key.not_found no_such_key"
    (revoked,) = keys.done("revoke")
    assert revoked.status == "revoked"
    assert keys.ring.snapshot() == ()
    assert keys.ring.changes() == ()
    keys.close()


def test_only_one_new_version_is_made_at_a_time_and_a_revocation_does_not_wait(keys: Keys) -> None:
    (first,) = keys.done("generate")
    keys.backend.holding = True
    ends: list[tuple[RingEntry, ...] | SignerdError] = []
    keys.life.order(KeyOrder("rotate", "file:a", "", overlap_s=600), ends.append)
    assert keys.refused("rotate") == "request.conflict in_progress"
    (revoked,) = keys.done("revoke")
    assert not ends
    keys.backend.answer()
    ((new,),) = ends  # type: ignore[misc]  # and no old version finishes anything
    assert (new.version, new.status) == (2, "active")
    assert keys.life.versions("file:a") == (revoked, new)
    assert revoked.keyid == first.keyid


def test_a_backend_that_is_down_is_said_and_nothing_has_changed(keys: Keys) -> None:
    keys.done("generate")
    keys.backend.up = False
    assert keys.refused("rotate") == "key.backend_unavailable worker_down"
    keys.backend.up = True
    assert len(keys.done("rotate")) == 2


def test_a_backend_that_makes_no_keys_is_not_asked(keys: Keys) -> None:
    keys.done("generate")
    keys.backend.methods = frozenset({"describe", "sign", "batch"})
    assert keys.refused("rotate") == "request.unsupported rotate"
    assert keys.refused("generate", "file:b") == "request.unsupported generate"


@pytest.mark.parametrize(
    "lie",
    [
        {"keyid": "sha256:" + "0" * 64},
        {"algorithm": "ES384"},
        {"spki": 5},
        {"key": None},
    ],
)
def test_a_backend_that_lies_is_condemned(keys: Keys, lie: dict[str, Any]) -> None:
    (first,) = keys.done("generate")
    keys.backend.spoil = lambda result: {**result, **lie}
    assert keys.refused("rotate") == "key.backend_fault answer"
    assert keys.backend.condemned
    assert keys.life.versions() == (first,)


def test_another_algorithm_than_the_ordered_one_is_a_lie(keys: Keys) -> None:
    keys.done("generate")
    (other,) = keys.done("generate", "file:b", algorithm="Ed25519")
    keys.backend.spoil = lambda result: {
        **result, "keyid": other.keyid, "spki": other.spki, "algorithm": other.algorithm
    }  # fmt: skip
    assert keys.refused("rotate", algorithm="ES384") == "key.backend_fault answer"


@pytest.mark.parametrize("handle", ["file:b", "hsm:other", ""])
def test_a_new_key_with_a_handle_of_another_is_not_taken(keys: Keys, handle: str) -> None:
    (first,) = keys.done("generate")
    keys.backend.spoil = lambda result: {**result, "key": handle}
    assert keys.refused("rotate") == "key.forbidden handle"
    assert keys.life.versions() == (first,)


@pytest.mark.parametrize(("operation", "key"), [("generate", "file:b"), ("rotate", "file:a")])
def test_without_a_log_no_backend_is_asked_to_make_a_key(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, operation: str, key: str
) -> None:
    keys.done("generate", "file:a")
    made = sorted((keys.folder / "keys").iterdir())

    def full(leaves: object) -> int:
        raise Fault("audit.unavailable", "disk_full", "the audit log cannot be used")

    with monkeypatch.context() as patch:
        patch.setattr(keys.audit, "append_many", full)
        assert keys.refused(operation, key) == "audit.unavailable disk_full"
    assert sorted((keys.folder / "keys").iterdir()) == made
    keys.done(operation, key)
    told = [admin_facts(text) for text in keys.audit.admin_leaves()]
    assert [(facts.act, facts.key, facts.by, facts.reason) for facts in told] == [
        ("keys.generate", "file:a", "uid:0", "because"),
        (f"keys.{operation}", key, "uid:0", "because"),
    ]


def test_what_cannot_be_recorded_has_not_happened(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = keys.done("generate")

    def full(leaves: object) -> int:
        raise Fault("audit.unavailable", "disk_full", "the audit log cannot be used")

    monkeypatch.setattr(keys.audit, "append_many", full)
    for operation in ("revoke", "suspend", "rotate"):
        assert keys.refused(operation) == "audit.unavailable disk_full"
    assert keys.life.versions() == (first,)
    assert keys.store.load() == [first]
    keys.ring.changes()
    monkeypatch.undo()
    keys.done("revoke")


def test_a_ring_that_cannot_be_written_is_made_good_at_the_next_start(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (first,) = keys.done("generate")

    def full(entries: object) -> None:
        raise Fault("internal", "ring_disk_full", "the key ring cannot be used")

    monkeypatch.setattr(keys.store, "put", full)
    (revoked,) = keys.done("revoke")
    assert keys.ring.pins[first.keyid].entry == revoked
    assert keys.store.load() == [first]
    monkeypatch.undo()
    keys.restart()
    assert keys.life.versions() == (revoked,)
    assert keys.store.load() == [revoked]
    assert "older than the log" in caplog.text


def test_the_oldest_a_version_may_get_is_shown_and_decides(tmp_path: Path) -> None:
    day = 86_400_000
    spec = KeySpec("file:a", "local", "soft", "file", max_age_ms=10 * day, warn_ms=2 * day)
    keys = Keys(tmp_path, spec)
    (entry,) = keys.done("generate")
    assert entry.expires_at == entry.added_at + 10 * day
    assert keys.store.load() == [replace(entry, expires_at=0)]
    assert list(keys.ring.ageing(entry.expires_at - 2 * day - 1)) == []
    assert list(keys.ring.ageing(entry.expires_at - 2 * day)) == [(entry, 2)]
    assert list(keys.ring.ageing(entry.expires_at)) == []
    keys.clock.move(10 * 86_400)
    with pytest.raises(Refusal, match="expired"):
        check_validity(keys.ring.pins[entry.keyid].entry, keys.clock.now_ms())
    new, old = keys.done("rotate", overlap_s=60)
    check_validity(new, keys.clock.now_ms())
    with pytest.raises(Refusal):
        check_validity(old, keys.clock.now_ms())
    keys.close()


def test_keys_must_be_in_hardware_where_the_tenant_says_so(tmp_path: Path) -> None:
    keys = Keys(tmp_path, KeySpec("file:a", "local", "soft", "file", require_hardware=True))
    (entry,) = keys.done("generate")
    unfit = keys.ring.pins[entry.keyid].unfit
    assert unfit is not None
    assert (unfit.code, unfit.reason) == ("key.forbidden", "hardware_required")
    keys.close()


def test_no_rotation_ends_a_key_in_hardware_for_one_that_may_not_sign(tmp_path: Path) -> None:
    made = Keys(tmp_path, KeySpec("file:a", "local", "soft", "file", require_hardware=True))
    made.backend.spoil = lambda result: {**result, "hardware": True}
    (first,) = made.done("generate")
    made.backend.spoil = dict
    assert made.refused("rotate") == "key.forbidden hardware_required"
    assert made.life.versions() == (first,)
    made.backend.spoil = lambda result: {**result, "hardware": True}
    new, _ = made.done("rotate")
    assert (new.version, new.hardware) == (2, True)
    made.close()


def test_no_key_outside_the_profile_is_made(tmp_path: Path) -> None:
    made = Keys(tmp_path, KeySpec("file:a", "local", "soft", "file", profile="eidas"))
    try:
        assert made.refused("generate", algorithm="Ed25519") == "key.algorithm_refused outside_profile"
        assert not list((tmp_path / "keys").glob("*"))
        (first,) = made.done("generate", algorithm="ES384")
        assert made.refused("rotate", algorithm="Ed25519") == "key.algorithm_refused outside_profile"
        assert made.life.versions() == (first,)
    finally:
        made.close()


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("eidas", "key.algorithm_refused rsa_too_short"),
        ("gost+eidas", "key.algorithm_refused rsa_too_short"),
        ("gost", "key.algorithm_refused outside_profile"),
    ],
)
def test_a_handle_of_a_key_outside_the_profile_is_refused_once_it_is_known(
    tmp_path: Path, profile: str, told: str
) -> None:
    made = Keys(tmp_path, KeySpec("file:a", "local", "soft", "file", profile="world"))
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "keys").mkdir(mode=0o700, exist_ok=True)
    file = tmp_path / "keys" / "short.pem"
    file.write_bytes(pem)
    file.chmod(0o600)
    try:
        (first,) = made.done("generate")
        made.specs = (KeySpec("file:a", "local", "soft", "file", profile=profile),)
        made.restart()
        assert made.refused("rotate", handle="file:short") == told
        assert made.life.versions() == (first,)
        unfit = made.ring.pins[first.keyid].unfit
        assert (unfit is None) == ("eidas" in profile)
        made.specs = (KeySpec("file:a", "local", "soft", "file", profile="fips"),)
        made.restart()
        assert made.done("rotate", handle="file:short")[0].algorithm == "RSA-PKCS1-SHA256"
    finally:
        made.close()
