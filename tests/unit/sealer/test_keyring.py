import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from fakes.credential import ORIGIN, RP_ID, SoftCredential
from fakes.sealing import NOW, HandClock, ListStore, SoftKey
from signerd.errors import Fault
from signerd.sealer.backends import Backend, BackendSpec
from signerd.sealer.job import Pinned
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.keyless import Certificates
from signerd.sealer.keyring import DESCRIBED_AT_ONCE, MOST_ABSENT, Keyring
from signerd.sealer.ring import FILE_NAME, RingStore
from signerd.sealer.versions import Versions
from signerd.sealer.worker_call import Call
from signerd.sealer.worker_errors import KEY as SAID
from signerd.verification.fido2 import Credential
from signerd.wire.worker_calls import CallError, DescribeResult

NOT_FOUND = CallError("key.not_found", "no_such_key", "no such key")


def described(key: SoftKey, **changes: Any) -> msgspec.Raw:
    prehash = "sha256" if key.public.prehash else ""
    made = DescribeResult(key.public.algorithm, key.public.keyid, key.public.spki, prehash=prehash)
    return msgspec.Raw(msgspec.msgpack.encode(msgspec.structs.replace(made, **changes)))


@dataclass
class Describer:
    """A backend that answers describe and generate from a table, when the test says so."""

    keys: dict[str, msgspec.Raw | CallError] = field(default_factory=dict)
    made: dict[str, msgspec.Raw | CallError] = field(default_factory=dict)
    spec: BackendSpec = field(default_factory=lambda: BackendSpec("soft", "file", 1.0, cast("Any", None)))
    condemned: list[str] = field(default_factory=list)
    up: bool = True
    asked: list[str] = field(default_factory=list)

    def call_many(self, calls: Sequence[Call]) -> None:
        for call in calls:
            key = call.params.key  # type: ignore[attr-defined]  # describe and generate have one
            self.asked.append(call.method)
            table = self.keys if call.method == "describe" else self.made
            answer = table.get(key, NOT_FOUND)
            if call.method == "generate":
                self.keys[key] = answer
            call.done(answer)

    def condemn(self, why: str) -> None:
        self.condemned.append(why)


OPENED: list[RingStore] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


class Desk:
    def __init__(self, folder: Path, *specs: KeySpec, audit: ListStore | None = None) -> None:
        self.store = RingStore(folder / FILE_NAME)
        OPENED.append(self.store)
        self.audit = audit or ListStore()
        self.clock = HandClock()
        self.versions = Versions(self.store, self.audit, self.clock)
        self.ring = Keyring(specs, self.versions, self.clock)

    def pin(self, key: str = "file:a") -> Pinned:
        return self.ring.pins[self.versions.of(key)[-1].keyid]

    def up(self, describer: Describer) -> None:
        self.ring.backend_up(cast("Backend", describer))

    def restart(self, *specs: KeySpec) -> "Desk":
        self.store.close()
        return Desk(self.folder, *specs, audit=self.audit)

    folder: Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


SPEC = KeySpec("file:a", "local", "soft", "file")
KEY = SoftKey("file:a")


def start(folder: Path, *specs: KeySpec, audit: ListStore | None = None) -> Desk:
    desk = Desk(folder, *specs, audit=audit)
    desk.folder = folder
    return desk


def test_a_key_that_is_there_is_imported_on_the_record_and_pinned(folder: Path) -> None:
    desk = start(folder, SPEC)
    settled = [desk.ring.settled]
    desk.up(Describer({"file:a": described(KEY)}))
    settled.append(desk.ring.settled)
    assert settled == [False, True]
    changed = [desk.ring.changed]
    pinned = desk.pin()
    assert (pinned.public, pinned.prehash, pinned.unfit, pinned.backend) == (KEY.public, True, None, "soft")
    assert desk.ring.snapshot() == (pinned.entry,)
    changed.append(desk.ring.changed)
    assert changed == [True, False]
    leaf = json.loads(desk.audit.leaves[0].text)
    assert (leaf["change"], leaf["entry"]["keyid"], leaf["time"]) == ("import", KEY.public.keyid, NOW)
    assert desk.store.load() == [pinned.entry]


def test_a_key_is_generated_once_where_the_configuration_says_so(folder: Path) -> None:
    spec = KeySpec("file:a", "local", "soft", "file", "ES256")
    desk = start(folder, spec)
    describer = Describer(made={"file:a": described(KEY)})
    desk.up(describer)
    assert describer.asked == ["describe", "generate"]
    assert json.loads(desk.audit.leaves[0].text)["change"] == "generate"
    again = desk.restart(spec)
    gone = Describer(made={"file:a": described(SoftKey("file:a"))})
    again.up(gone)
    assert gone.asked == ["describe"], "a key that the ring has held is never made anew"
    assert again.pin().unfit == NOT_FOUND
    assert len(again.audit.leaves) == 1


def test_a_key_of_an_earlier_start_signs_once_it_was_described(folder: Path) -> None:
    first = start(folder, SPEC)
    first.up(Describer({"file:a": described(KEY)}))
    desk = first.restart(SPEC)
    unfit = desk.pin().unfit
    assert unfit is not None
    assert unfit.code == "key.backend_unavailable"
    desk.up(Describer({"file:a": described(KEY)}))
    assert desk.pin().unfit is None
    assert len(desk.audit.leaves) == 1, "nothing has changed"


def test_another_key_in_its_place_does_not_sign(folder: Path) -> None:
    first = start(folder, SPEC)
    first.up(Describer({"file:a": described(KEY)}))
    desk = first.restart(SPEC)
    desk.up(Describer({"file:a": described(SoftKey("file:a"))}))
    pinned = desk.pin()
    assert pinned.unfit is not None
    assert pinned.unfit.code == "key.backend_fault"
    assert pinned.public == KEY.public
    assert desk.store.load() == [pinned.entry]


def test_a_key_that_the_ring_gave_to_another_tenant_does_not_sign(folder: Path) -> None:
    first = start(folder, SPEC)
    first.up(Describer({"file:a": described(KEY)}))
    desk = first.restart(KeySpec("file:a", "other", "soft", "file"))
    desk.up(Describer({"file:a": described(KEY)}))
    pinned = desk.pin()
    assert pinned.unfit is not None
    assert pinned.entry.tenant == "local"


@pytest.mark.parametrize(
    "lie",
    [
        {"keyid": "sha256:" + "0" * 64},
        {"algorithm": "ES384"},
        {"algorithm": ""},
    ],
)
def test_a_description_that_contradicts_itself_condemns_the_worker(folder: Path, lie: dict[str, str]) -> None:
    desk = start(folder, SPEC)
    describer = Describer({"file:a": described(KEY, **lie)})
    desk.up(describer)
    assert describer.condemned
    assert not desk.versions.of("file:a")
    assert not desk.audit.leaves
    assert desk.ring.settled


@pytest.mark.parametrize("raw", [b"\xc1", b"\x80", b"\x81\xa4spki\xa1x", b"\x81\xa1x" + b"\x91" * 5000 + b"\xc0"])
def test_one_out_of_shape_too(folder: Path, raw: bytes) -> None:
    desk = start(folder, SPEC)
    describer = Describer({"file:a": msgspec.Raw(raw)})
    desk.up(describer)
    assert describer.condemned
    assert desk.ring.settled


def test_a_key_of_an_algorithm_that_nobody_may_use_is_not_pinned(folder: Path) -> None:
    desk = start(folder, SPEC)
    describer = Describer({"file:a": described(KEY, spki=b"not DER")})
    desk.up(describer)
    assert not desk.versions.of("file:a")
    assert desk.ring.settled


def test_prehash_is_believed_only_where_the_algorithm_hashes_so(folder: Path) -> None:
    key = SoftKey("file:a", "Ed25519")
    desk = start(folder, SPEC)
    desk.up(Describer({"file:a": described(key, prehash="sha256")}))
    assert desk.pin().prehash is False


def test_a_key_that_cannot_be_recorded_is_not_pinned(folder: Path) -> None:
    audit = ListStore()
    audit.failing = Fault("audit.unavailable", "disk_full", "the audit log cannot be used")
    desk = start(folder, SPEC, audit=audit)
    desk.up(Describer({"file:a": described(KEY)}))
    assert not desk.versions.of("file:a")
    assert desk.store.load() == []
    audit.failing = None
    desk.up(Describer({"file:a": described(KEY)}))
    assert desk.pin().unfit is None


def test_an_error_makes_a_key_unfit_until_it_is_described_again(folder: Path) -> None:
    desk = start(folder, SPEC)
    desk.up(Describer({"file:a": described(KEY)}))
    desk.up(Describer({"file:a": CallError("key.backend_fault", "defect", "no")}))
    assert desk.pin().unfit is not None
    desk.up(Describer({"file:a": described(KEY)}))
    assert desk.pin().unfit is None


AWAY = CallError("key.backend_unavailable", "token_absent", "the key's backend is not available")


def test_a_key_that_could_not_be_reached_is_asked_for_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = KeySpec("file:new", "local", "soft", "file", "ES256")
    desk = start(folder, SPEC, made)
    desk.up(Describer({"file:a": described(KEY), "file:new": AWAY}))
    again = desk.restart(SPEC, made)
    new = described(SoftKey("file:new"))
    describer = Describer({"file:a": AWAY, "file:new": AWAY}, {"file:new": new})
    again.up(describer)
    for _ in range(3):
        assert again.ring.unreached
        again.ring.ask_again(cast("Backend", describer))
    assert (len(describer.asked), again.pin().unfit) == (8, AWAY)
    assert sum("file:a: key.backend_unavailable (token_absent)" in line for line in caplog.messages) == 1
    describer.keys = {"file:a": described(KEY)}
    again.ring.ask_again(cast("Backend", describer))
    assert not again.ring.unreached
    assert [again.pin(key).unfit for key in ("file:a", "file:new")] == [None, None]


def test_the_front_end_is_told_why_a_key_was_never_held(folder: Path) -> None:
    elsewhere = KeySpec("hsm:b", "local", "hsm", "hsm")
    desk = start(folder, SPEC, elsewhere)
    assert desk.ring.absent() is None
    describer = Describer({"file:a": AWAY})
    desk.up(describer)
    desk.ring.backend_down(cast("Backend", Describer(spec=BackendSpec("hsm", "hsm", 1.0, cast("Any", None)))))
    told = desk.ring.absent()
    assert told is not None
    assert {key: error.reason for key, error in told.items()} == {"file:a": "token_absent", "hsm:b": "not_described"}
    desk.ring.ask_again(cast("Backend", describer))
    assert desk.ring.absent() is None
    describer.keys = {"file:a": described(KEY)}
    desk.ring.ask_again(cast("Backend", describer))
    assert desk.ring.absent() == {"hsm:b": told["hsm:b"]}


def test_the_front_end_is_told_of_so_many_absent_keys_alone(folder: Path) -> None:
    specs = [KeySpec(f"file:{number}", "local", "soft", "file") for number in range(MOST_ABSENT + 9)]
    desk = start(folder, *specs)
    held: list[Call] = []

    class Slow(Describer):
        def call_many(self, calls: Sequence[Call]) -> None:
            held.extend(calls)

    desk.up(Slow())
    while held:
        held.pop().done(NOT_FOUND)
    assert len(desk.ring.absent() or ()) == MOST_ABSENT


def test_a_key_that_was_refused_is_not_asked_for_again(folder: Path) -> None:
    desk = start(folder, SPEC)
    describer = Describer({"file:a": CallError("key.backend_fault", "pin_incorrect", "no")})
    desk.up(describer)
    assert not desk.ring.unreached
    desk.ring.ask_again(cast("Backend", describer))
    assert describer.asked == ["describe"]


def test_many_that_could_not_be_reached_are_asked_for_a_few_at_a_time(folder: Path) -> None:
    specs = [KeySpec(f"file:{number}", "local", "soft", "file") for number in range(200)]
    desk = start(folder, *specs)
    describer = Describer({spec.key: AWAY for spec in specs})
    desk.up(describer)
    desk.ring.ask_again(cast("Backend", describer))
    assert len(describer.asked) == 400
    desk.ring.backend_down(cast("Backend", describer))
    assert not desk.ring.unreached


def test_nobody_waits_for_a_worker_that_cannot_be_had(folder: Path) -> None:
    desk = start(folder, SPEC, KeySpec("hsm:b", "local", "hsm", "hsm"))
    desk.up(Describer({"file:a": described(KEY)}))
    settled = [desk.ring.settled]
    hsm = Describer(spec=BackendSpec("hsm", "hsm", 1.0, cast("Any", None)))
    desk.ring.backend_down(cast("Backend", hsm))
    settled.append(desk.ring.settled)
    assert settled == [False, True]
    assert [entry.key for entry in desk.ring.snapshot()] == ["file:a"]


def test_what_hardware_says_of_a_key_is_recorded_when_it_changes(folder: Path) -> None:
    spec = KeySpec("file:a", "local", "soft", "file", require_hardware=True)
    desk = start(folder, spec)
    desk.up(Describer({"file:a": described(KEY)}))
    unfit = desk.pin().unfit
    assert unfit is not None
    assert unfit.reason == "hardware_required"
    desk.up(Describer({"file:a": described(KEY, hardware=True)}))
    assert desk.pin().unfit is None
    assert desk.pin().entry.hardware is True
    desk.up(Describer({"file:a": described(KEY, hardware=True)}))
    assert [json.loads(leaf.text)["change"] for leaf in desk.audit.leaves] == ["import", "attest"]


def test_each_version_is_asked_for_by_its_own_name_and_the_ended_ones_not(folder: Path) -> None:
    desk = start(folder, SPEC)
    desk.up(Describer({"file:a": described(KEY)}))
    first = desk.versions.of("file:a")[0]
    keys = [SoftKey("file:a") for _ in range(3)]
    statuses = ["suspended", "revoked", "active"]
    made = [
        replace(key.entry, version=number, handle=f"file:a.v{number}", status=status)
        for number, (key, status) in enumerate(zip(keys, statuses, strict=True), 2)
    ]
    desk.versions.change("rotate", [*made, replace(first, status="retiring", retire_at=NOW + 5)])
    again = desk.restart(SPEC)
    table = {entry.name: described(key) for entry, key in zip(made, keys, strict=True)}
    describer = Describer({"file:a": described(KEY), **table})
    again.up(describer)
    assert describer.asked == ["describe"] * 3
    assert again.ring.settled
    unfit = [again.ring.pins[entry.keyid].unfit for entry in again.versions.of("file:a")]
    assert [each is None for each in unfit] == [True, True, False, True]


def test_thousands_of_keys_are_described_a_few_at_a_time(folder: Path) -> None:
    specs = [KeySpec(f"file:{number}", "local", "soft", "file") for number in range(200)]
    desk = start(folder, *specs)
    held: list[Call] = []

    class Slow(Describer):
        def call_many(self, calls: Sequence[Call]) -> None:
            held.extend(calls)

    desk.up(Slow())
    counts = []
    while held:
        counts.append(len(held))
        call = held.pop(0)
        call.done(NOT_FOUND)
    assert max(counts) == DESCRIBED_AT_ONCE
    assert len(counts) == 200
    assert desk.ring.settled


def test_a_worker_that_dies_is_not_asked_for_the_rest(folder: Path) -> None:
    specs = [KeySpec(f"file:{number}", "local", "soft", "file") for number in range(5000)]
    desk = start(folder, *specs)

    class Dead(Describer):
        def call_many(self, calls: Sequence[Call]) -> None:
            self.up = False
            for call in calls:
                self.asked.append(call.method)
                call.done(CallError("key.backend_unavailable", "worker_died", "gone"))

    dead = Dead()
    desk.up(dead)
    assert len(dead.asked) == DESCRIBED_AT_ONCE
    assert not desk.ring.settled
    desk.ring.backend_down(cast("Backend", dead))
    assert desk.ring.settled


def test_keys_of_no_spec_have_no_pin(folder: Path) -> None:
    desk = start(folder, SPEC)
    desk.up(Describer({"file:a": described(KEY)}))
    again = desk.restart(KeySpec("file:b", "local", "soft", "file"))
    for keyid in (KEY.public.keyid, "sha256:" + "0" * 64, ""):
        with pytest.raises(KeyError):
            again.ring.pins[keyid]
    assert not again.ring.pins


def test_the_front_end_is_told_what_has_changed_once(folder: Path) -> None:
    desk = start(folder, SPEC)
    desk.up(Describer({"file:a": described(KEY)}))
    assert desk.ring.changes() == (desk.pin().entry,)
    assert not desk.ring.changed
    assert desk.ring.changes() == ()


CERTIFICATES = Certificates(cast("Any", None), (), None, ephemeral_ok=True)
KEYLESS = KeySpec("x:ci", "local", "soft", "x", certificates=CERTIFICATES)


def keyless(**changes: Any) -> msgspec.Raw:
    fields: dict[str, Any] = {"capabilities": ("keyless",), "prehash": "sha256", **changes}
    described = DescribeResult(**{"algorithm": "ES256", "keyid": "", "spki": b"", **fields})
    return msgspec.Raw(msgspec.msgpack.encode(described))


def test_a_keyless_key_is_in_no_ring_and_signs_once_it_was_described(folder: Path) -> None:
    desk = start(folder, KEYLESS)
    (shown,) = desk.ring.snapshot()
    assert (shown.key, shown.version, shown.keyid, shown.keyless) == ("x:ci", 0, "", True)
    unfit = desk.ring.pins["x:ci"].unfit
    assert unfit is not None
    assert unfit.reason == "not_described"
    desk.up(Describer({"x:ci": keyless()}))
    pinned = desk.ring.pins["x:ci"]
    assert (pinned.unfit, pinned.prehash, pinned.public) == (None, True, None)
    assert pinned.certificates is KEYLESS.certificates
    assert desk.ring.settled
    assert list(desk.versions.entries()) == []
    assert desk.audit.leaves == []


def test_what_its_backend_refuses_a_keyless_key_with_it_is_refused_with(folder: Path) -> None:
    desk = start(folder, KEYLESS)
    desk.up(Describer())
    assert desk.ring.pins["x:ci"].unfit == NOT_FOUND
    desk.up(Describer({"x:ci": keyless()}))
    assert desk.ring.pins["x:ci"].unfit is None


@pytest.mark.parametrize(
    "lie", [{"capabilities": ()}, {"keyid": "sha256:" + "0" * 64}, {"spki": b"x"}, {"algorithm": "Ed25519"}]
)
def test_a_lasting_key_in_place_of_a_keyless_one_condemns_the_worker(folder: Path, lie: dict[str, Any]) -> None:
    desk = start(folder, KEYLESS)
    describer = Describer({"x:ci": keyless(**lie)})
    desk.up(describer)
    assert len(describer.condemned) == 1
    assert desk.ring.pins["x:ci"].unfit is not None


def test_a_keyless_key_that_the_configuration_does_not_call_so_is_not_pinned(folder: Path) -> None:
    desk = start(folder, KeySpec("x:ci", "local", "soft", "x"))
    desk.up(Describer({"x:ci": keyless()}))
    assert desk.ring.settled
    assert desk.ring.snapshot() == ()


def test_a_worker_that_says_it_was_late_is_not_asked_again_without_end(tmp_path: Path) -> None:
    key = SoftKey("file:a")
    desk = Desk(tmp_path, KeySpec("file:a", "local", "soft", "file"))
    said = CallError("key.backend_unavailable", "call_deadline", "so it says")
    liar = Describer({"file:a": said})
    desk.up(liar)
    assert liar.asked == ["describe"]
    assert desk.ring.settled
    # The sealer's own word on a deadline is another thing.
    slow = Describer({"file:a": SAID.late})
    asked = slow.call_many

    def call_many(calls: Sequence[Call]) -> None:
        if len(slow.asked) == 1:
            slow.keys["file:a"] = described(key)
        asked(calls)

    slow.call_many = call_many  # type: ignore[method-assign]  # it answers the second time
    desk.up(slow)
    assert slow.asked == ["describe", "describe"]
    assert desk.pin().unfit is None


def pinned_unfit(folder: Path, profile: str, key: SoftKey = KEY) -> CallError | None:
    desk = start(folder, dataclasses.replace(SPEC, profile=profile))
    desk.up(Describer({"file:a": described(key)}))
    return desk.ring.pins[key.public.keyid].unfit


@pytest.mark.parametrize("profile", ["world", "fips", "eidas", "kcmvp", "gost+kcmvp"])
def test_a_key_within_the_tenants_profile_signs(folder: Path, profile: str) -> None:
    assert pinned_unfit(folder, profile) is None


@pytest.mark.parametrize(
    ("profile", "algorithm"), [("gost", "ES256"), ("sm", "ES256"), ("eidas", "Ed25519"), ("kcmvp+sm", "Ed25519")]
)
def test_a_key_outside_it_is_pinned_and_does_not_sign(folder: Path, profile: str, algorithm: str) -> None:
    unfit = pinned_unfit(folder, profile, SoftKey("file:a", algorithm))
    assert unfit is not None
    assert (unfit.code, unfit.reason) == ("key.algorithm_refused", "outside_profile")
    assert profile in unfit.message


def test_a_keyless_key_is_within_the_profile_too(folder: Path) -> None:
    desk = start(folder, dataclasses.replace(KEYLESS, profile="gost"))
    desk.up(Describer({"x:ci": keyless()}))
    unfit = desk.ring.pins["x:ci"].unfit
    assert unfit is not None
    assert unfit.reason == "outside_profile"


ALICE = SoftCredential()
CREDENTIAL = KeySpec("fido2:alice", "local", "soft", "fido2", enrolled=Credential(b"", RP_ID, ORIGIN, False))


def enrolled(credential: SoftCredential = ALICE, **changes: Any) -> msgspec.Raw:
    made = DescribeResult("FIDO2-ES256", credential.keyid, credential.spki, prehash="sha256")
    return msgspec.Raw(msgspec.msgpack.encode(msgspec.structs.replace(made, **changes)))


def test_a_credential_is_pinned_as_one_and_again_after_a_restart(folder: Path) -> None:
    desk = start(folder, CREDENTIAL)
    desk.up(Describer({"fido2:alice": enrolled()}))
    again = desk.restart(CREDENTIAL)
    again.up(Describer({"fido2:alice": enrolled()}))
    for each in (desk, again):
        pinned = each.ring.signing("fido2:alice")
        assert pinned is not None
        assert (pinned.entry.algorithm, pinned.unfit) == ("FIDO2-ES256", None)
        assert pinned.credential == Credential(ALICE.spki, RP_ID, ORIGIN, False)


@pytest.mark.parametrize(
    ("spec", "answer"),
    [(SPEC, enrolled()), (CREDENTIAL, described(KEY)), (dataclasses.replace(CREDENTIAL, key="file:a"), described(KEY))],
)
def test_what_is_no_credential_does_not_approve_and_a_credential_does_not_sign(
    folder: Path, spec: KeySpec, answer: msgspec.Raw
) -> None:
    desk = start(folder, spec)
    describer = Describer({spec.key: answer})
    desk.up(describer)
    assert desk.ring.signing(spec.key) is None
    assert desk.ring.settled
    assert describer.condemned == [], "it is the configuration that is wrong"


def test_a_credential_of_another_algorithm_than_its_key_s_is_a_lie(folder: Path) -> None:
    desk = start(folder, CREDENTIAL)
    describer = Describer({"fido2:alice": enrolled(algorithm="FIDO2-Ed25519")})
    desk.up(describer)
    assert len(describer.condemned) == 1
    assert desk.ring.signing("fido2:alice") is None


def test_the_newest_version_that_is_active_signs(folder: Path) -> None:
    desk = start(folder, SPEC)
    assert desk.ring.signing("file:a") is None
    assert desk.ring.signing("file:none") is None
    desk.up(Describer({"file:a": described(KEY)}))
    second = replace(SoftKey("file:a").entry, version=2, handle="file:a.v2")
    desk.versions.change("rotate", [second])
    desk.ring.touched([second])
    found = desk.ring.signing("file:a")
    assert found is not None
    assert found.entry.version == 2
    desk.versions.change("suspend", [replace(second, status="suspended")])
    desk.ring.touched([second])
    found = desk.ring.signing("file:a")
    assert found is not None
    assert found.entry.version == 1


SECRET_ID = "sha256:" + "ab" * 32
SECRET = KeySpec("file:a", "local", "soft", "file", purposes=frozenset({"signing"}), mac="HMAC-SHA256")


def secret(**changes: Any) -> msgspec.Raw:
    made = DescribeResult("HMAC-SHA256", SECRET_ID, b"", ("hmac",))
    return msgspec.Raw(msgspec.msgpack.encode(msgspec.structs.replace(made, **changes)))


def test_a_key_that_makes_macs_is_pinned_by_its_id_and_its_purposes(folder: Path) -> None:
    desk = start(folder, SECRET)
    desk.up(Describer({"file:a": secret()}))
    pinned = desk.pin()
    assert (pinned.public, pinned.purposes, pinned.unfit) == (None, frozenset({"signing"}), None)
    assert (pinned.entry.keyid, pinned.entry.spki, pinned.entry.makes_macs) == (SECRET_ID, b"", True)
    again = desk.restart(SECRET)
    assert again.pin().unfit is not None
    again.up(Describer({"file:a": secret(keyid="sha256:" + "cd" * 32)}))
    unfit = again.pin().unfit
    assert unfit is not None
    assert unfit.reason == "key_replaced"


@pytest.mark.parametrize(("before", "after"), [(SPEC, SECRET), (SECRET, SPEC)])
def test_no_configuration_makes_one_kind_of_key_the_other(folder: Path, before: KeySpec, after: KeySpec) -> None:
    table = {SPEC.mac: described(KEY), SECRET.mac: secret()}
    desk = start(folder, before)
    desk.up(Describer({"file:a": table[before.mac]}))
    again = desk.restart(after)
    again.up(Describer({"file:a": table[before.mac]}))
    unfit = again.pin().unfit
    assert unfit is not None
    assert unfit.reason == "key_replaced"


def test_a_profile_judges_it_by_each_of_its_purposes(folder: Path) -> None:
    def unfit(profile: str, *purposes: str) -> str:
        spec = dataclasses.replace(SECRET, profile=profile, purposes=frozenset(purposes))
        place = folder / f"{profile}-{len(purposes)}"
        place.mkdir()
        desk = start(place, spec)
        desk.up(Describer({"file:a": secret()}))
        found = desk.pin().unfit
        return "" if found is None else found.reason

    assert unfit("fips", "signing") == ""
    assert unfit("gost", "webhook-interop") == ""
    assert unfit("sm", "signing") == "outside_profile"
    assert unfit("gost", "webhook-interop", "signing") == "outside_profile"
