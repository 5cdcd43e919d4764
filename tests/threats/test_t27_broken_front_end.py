"""T27: code execution in the front end, which parses callers' bytes, asks for a signature off the record.

The attacker holds the link of a real sealer process, and may send whatever it likes. Each thing that no honest
front end sends ends the link, is recorded as a fault, closes what was open, and releases nothing that is not on
the record. The next sealer starts clean.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.front_end import STATEMENT, SealerProcess, leaves_of
from signerd.host.config import embedded
from signerd.host.config_model import Config, Key, Tenant
from signerd.host.memfd import sealed_memfd
from signerd.wire.frames import encode_frame
from signerd.wire.links import (
    LINK_VERSION,
    Close,
    CloseMany,
    KeyUse,
    Open,
    PeerFacts,
    Query,
    RefusedRecord,
    RefuseMany,
    RequestFacts,
    SealItem,
    SealMany,
)
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import LINK_FRAME_BYTES, PAYLOAD_INLINE

REQUEST = RequestFacts("sign.dsse", PeerFacts(1000, 1), "local", "uid:1000")
Attack = Callable[[SealerProcess], None]


def two_tenants(state: Path) -> Config:
    """The embedded defaults and a second tenant with a key of its own in the same backend."""
    made = embedded(state, state.parent / "run" / "sign.sock")
    keys = (*made.keys, Key("file:theirs", "file", "other", "ES256"))
    tenants = (*made.tenants, Tenant("other", ("file:theirs",), "file:theirs"))
    return msgspec.structs.replace(made, keys=keys, tenants=tenants)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], SealerProcess]]:
    made: list[SealerProcess] = []

    def begin() -> SealerProcess:
        sealer = SealerProcess(tmp_path / "state", two_tenants(tmp_path / "state"))
        made.append(sealer)
        return sealer

    yield begin
    for sealer in made:
        sealer.close()


@pytest.fixture
def sealer(start: Callable[[], SealerProcess]) -> SealerProcess:
    made = start()
    made.open()
    assert set(made.ring) == {"file:default", "file:theirs"}
    return made


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def change(item: SealItem, **fields: Any) -> SealItem:
    return msgspec.structs.replace(item, **fields)


def with_keys(item: SealItem, *uses: KeyUse) -> SealItem:
    return change(item, decision=msgspec.structs.replace(item.decision, keys=uses))


def handed(sealer: SealerProcess, size: int, fd: int, index: int = 0, more: tuple[int, ...] = ()) -> None:
    item = sealer.item(payload=Descriptor(index, size), audit_id="attack")
    sealer.send(SealMany((item,)), fds=[fd, *more])
    for each in (fd, *more):
        os.close(each)


def unsealed(size: int) -> int:
    fd = os.memfd_create("attack")
    os.ftruncate(fd, size)
    return fd


LARGE = STATEMENT + bytes(PAYLOAD_INLINE)


def foreign_key(sealer: SealerProcess) -> None:
    theirs = sealer.ring["file:theirs"]
    item = with_keys(sealer.item(audit_id="attack"), KeyUse("file:theirs", "request", theirs.keyid, 1))
    sealer.send(SealMany((item,)))


def one_of_two_keys_is_foreign(sealer: SealerProcess) -> None:
    theirs = sealer.ring["file:theirs"]
    item = sealer.item(audit_id="attack")
    sealer.send(SealMany((with_keys(item, *item.decision.keys, KeyUse("file:theirs", "r", theirs.keyid, 1)),)))


def foreign_keyid(sealer: SealerProcess) -> None:
    item = sealer.item(audit_id="attack")
    theirs = sealer.ring["file:theirs"]
    sealer.send(SealMany((with_keys(item, KeyUse("file:default", "t", theirs.keyid, 1)),)))


def twice_in_one_frame(sealer: SealerProcess) -> None:
    item = sealer.item(audit_id="attack")
    sealer.send(SealMany((item, item)))


def after_it_ended(sealer: SealerProcess) -> None:
    item = sealer.item(audit_id="earlier")
    (outcome,) = sealer.seal(item)
    assert outcome.ok is not None
    sealer.send(CloseMany((Close("earlier", "signed"),)))
    (second,) = sealer.seal(sealer.item())  # a commit of its own, so that the outcome is in the log
    assert second.ok is not None
    sealer.send(SealMany((item,)))


def refused_after_it_was_signed(sealer: SealerProcess) -> None:
    (outcome,) = sealer.seal(sealer.item(audit_id="earlier"))
    assert outcome.ok is not None
    sealer.send(CloseMany((Close("earlier", "signed"),)))
    sealer.send(RefuseMany((RefusedRecord("earlier", REQUEST, "refused", "release.untrusted", "unknown"),)))


def close_twice(sealer: SealerProcess) -> None:
    (outcome,) = sealer.seal(sealer.item(audit_id="earlier"))
    assert outcome.ok is not None
    sealer.send(CloseMany((Close("earlier", "signed"), Close("earlier", "cancelled"))))


def close_signed_before_sealed(sealer: SealerProcess) -> None:
    sealer.send(SealMany((sealer.item(audit_id="attack"),)), CloseMany((Close("attack", "signed"),)))


def change_use(use: KeyUse, **fields: Any) -> KeyUse:
    return msgspec.structs.replace(use, **fields)


def change_request(**fields: Any) -> RequestFacts:
    return msgspec.structs.replace(REQUEST, **fields)


def pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def index_twice(sealer: SealerProcess) -> None:
    fd = sealed_memfd("a", LARGE)
    items = [sealer.item(payload=Descriptor(0, len(LARGE)), audit_id=f"attack{n}") for n in range(2)]
    sealer.send(SealMany(tuple(items)), fds=[fd])
    os.close(fd)


ATTACKS: dict[str, tuple[Attack, str]] = {
    "open twice": (lambda s: s.send(Open(LINK_VERSION, "again")), "open_order"),
    "a foreign tenant's key": (foreign_key, "foreign_key"),
    "one of two keys is foreign": (one_of_two_keys_is_foreign, "foreign_key"),
    "a key that nobody has": (
        lambda s: s.send(SealMany((with_keys(s.item(audit_id="attack"), KeyUse("file:x", "r")),))),
        "foreign_key",
    ),
    "another key's id": (foreign_keyid, "foreign_key"),
    "another version": (
        lambda s: s.send(
            SealMany((with_keys(i := s.item(audit_id="attack"), change_use(i.decision.keys[0], version=2)),))
        ),
        "foreign_key_version",
    ),
    "no key": (lambda s: s.send(SealMany((with_keys(s.item(audit_id="attack")),))), "decision_shape"),
    "two tenants in one item": (
        lambda s: s.send(SealMany((change(s.item(audit_id="attack"), request=change_request(tenant="other")),))),
        "decision_shape",
    ),
    "no id": (lambda s: s.send(SealMany((s.item(audit_id=""),))), "audit_id_shape"),
    "a refusal without id": (
        lambda s: s.send(RefuseMany((RefusedRecord("", REQUEST, "refused", "quota.rate", "rate"),))),
        "audit_id_shape",
    ),
    "an id twice in one frame": (twice_in_one_frame, "audit_id_twice"),
    "an id after it ended": (after_it_ended, "audit_id_twice"),
    "a refusal under a signed id": (refused_after_it_was_signed, "audit_id_twice"),
    "close without seal": (lambda s: s.send(CloseMany((Close("attack", "cancelled"),))), "close_without_seal"),
    "close twice": (close_twice, "close_without_seal"),
    "close as signed what is not sealed": (close_signed_before_sealed, "close_before_sealed"),
    "another payload type": (
        lambda s: s.send(SealMany((change(s.item(audit_id="attack"), payload_type="text/plain"),))),
        "payload_type",
    ),
    "a large payload inline": (
        lambda s: s.send(SealMany((s.item(payload=bytes(PAYLOAD_INLINE + 1), audit_id="attack"),))),
        "payload_inline",
    ),
    "an unsealed memfd": (lambda s: handed(s, len(LARGE), unsealed(len(LARGE))), "not_sealed"),
    "a pipe": (lambda s: handed(s, len(LARGE), pipe()), "not_sealed"),
    "a size above the memfd's": (lambda s: handed(s, len(LARGE) + 1, sealed_memfd("a", LARGE)), "size_mismatch"),
    "a size below it": (lambda s: handed(s, len(LARGE) - 1, sealed_memfd("a", LARGE)), "size_mismatch"),
    "no size": (lambda s: handed(s, 0, sealed_memfd("a")), "descriptor_size"),
    "a surplus descriptor": (
        lambda s: handed(s, len(LARGE), sealed_memfd("a", LARGE), more=(sealed_memfd("b", LARGE),)),
        "descriptor_surplus",
    ),
    "an index out of range": (
        lambda s: handed(s, len(LARGE), sealed_memfd("a", LARGE), 1),
        "descriptor_index",
    ),
    "a negative index": (lambda s: handed(s, len(LARGE), sealed_memfd("a", LARGE), -1), "frame_shape"),
    "one descriptor for two items": (index_twice, "descriptor_index"),
    "a descriptor with a close": (lambda s: s.send(CloseMany(()), fds=[0]), "descriptor_surplus"),
    "an oversize frame": (lambda s: s.send_bytes(struct.pack(">I", LINK_FRAME_BYTES + 1)), "frame_size"),
    "an oversize frame after a good one": (
        lambda s: s.send_bytes(encode_frame(CloseMany(())) + struct.pack(">I", 2**32 - 1)),
        "frame_size",
    ),
    "garbage": (lambda s: s.send_bytes(framed(b"\xc1\xc1\xc1\xc1")), "frame_shape"),
    "an empty frame": (lambda s: s.send_bytes(bytes(4)), "frame_shape"),
    "a message of another link": (
        lambda s: s.send_bytes(framed(msgspec.msgpack.encode({"type": "seal_all"}))),
        "frame_shape",
    ),
    "endless nesting": (
        lambda s: s.send_bytes(framed(b"\x82\xa4type\xa6reload\xa1x" + b"\x91" * 90_000 + b"\xc0")),
        "frame_shape",
    ),
    "text that is no UTF-8": (
        lambda s: s.send_bytes(framed(b"\x81\xa4type\xa3\xff\xff\xff")),
        "frame_shape",
    ),
}


def check_log(state: Path) -> list[dict[str, Any]]:
    """Each id has one beginning, and each decision one end. Returns all leaves."""
    leaves = leaves_of(state)
    begun = [leaf["audit_id"] for leaf in leaves if leaf["kind"] in ("decided", "refused") and leaf["audit_id"]]
    ended = [leaf["audit_id"] for leaf in leaves if leaf["kind"] == "outcome"]
    decided = [leaf["audit_id"] for leaf in leaves if leaf["kind"] == "decided"]
    assert len(set(begun)) == len(begun)
    assert sorted(ended) == sorted(decided)
    return leaves


@pytest.mark.parametrize("name", ATTACKS)
def test_what_no_front_end_sends_ends_the_link_on_the_record(sealer: SealerProcess, name: str) -> None:
    attack, reason = ATTACKS[name]
    (honest,) = sealer.seal(sealer.item(audit_id="open1"))
    assert honest.ok is not None, "it works before"
    attack(sealer)
    assert sealer.ended()
    assert sealer.status() == 0
    for audit_id, outcome in sealer.outcomes().items():
        assert outcome.ok is None or not audit_id.startswith("attack")
    leaves = check_log(sealer.state)
    (fault,) = [leaf for leaf in leaves if leaf["kind"] == "refused" and leaf["audit_id"] == ""]
    assert (fault["outcome"], fault["code"], fault["reason"]) == ("fault", "internal", reason)
    ends = {leaf["audit_id"]: leaf["outcome"] for leaf in leaves if leaf["kind"] == "outcome"}
    assert ends["open1"] == "unknown", "released, and nobody said whether it was delivered"
    assert all(ends[one] != "signed" for one in ends if one.startswith("attack"))


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (lambda s: s.send(RefuseMany((RefusedRecord("a", REQUEST, "refused", "quota.rate", "r"),))), "open_missing"),
        (lambda s: s.send(CloseMany(())), "open_missing"),
        (lambda s: s.send(Query(1, "local", {}, 0, 1)), "open_missing"),
        (lambda s: s.send(Open(LINK_VERSION + 1, "later")), "open_order"),
        (lambda s: s.send(Open(0, "older")), "open_order"),
        (lambda s: s.send_bytes(struct.pack(">I", LINK_FRAME_BYTES + 1)), "frame_size"),
        (lambda s: s.send_bytes(b"GET / HTTP/1.1\r\n\r\n"), "frame_size"),
    ],
    ids=["refuse", "close", "query", "later version", "older version", "oversize", "not even frames"],
)
def test_nothing_comes_before_open(start: Callable[[], SealerProcess], first: Attack, reason: str) -> None:
    sealer = start()
    first(sealer)
    assert sealer.ended()
    assert sealer.status() == 0
    assert not sealer.said
    (fault,) = [leaf for leaf in check_log(sealer.state) if leaf["kind"] == "refused"]
    assert fault["reason"] == reason


def test_a_seal_before_open_signs_nothing(start: Callable[[], SealerProcess]) -> None:
    honest = start()
    honest.open()
    item = honest.item(audit_id="attack")
    honest.close()
    sealer = start()
    sealer.send(SealMany((item,)))
    assert sealer.ended()
    assert not sealer.said
    leaves = check_log(sealer.state)
    assert "attack" not in [leaf.get("audit_id") for leaf in leaves]
    assert leaves[-1]["reason"] == "open_missing"


def test_an_id_is_used_up_across_a_restart(start: Callable[[], SealerProcess]) -> None:
    first = start()
    first.open()
    item = first.item(audit_id="used")
    (outcome,) = first.seal(item)
    assert outcome.ok is not None
    first.close()
    second = start()
    second.open()
    (honest,) = second.seal(second.item(audit_id="honest"))
    assert honest.ok is not None
    second.send(SealMany((item,)))
    assert second.ended()
    assert second.status() == 0
    assert "used" not in second.outcomes()
    leaves = check_log(second.state)
    assert [leaf["outcome"] for leaf in leaves if leaf["kind"] == "outcome" and leaf["audit_id"] == "used"] == [
        "unknown"
    ]
    third = start()
    third.open()
    (again,) = third.seal(third.item(audit_id="afterwards"))
    assert again.ok is not None, "the next sealer starts clean"


def test_what_was_asked_in_the_same_breath_is_closed_and_not_released(sealer: SealerProcess) -> None:
    items = [sealer.item(audit_id=f"breath{n}") for n in range(20)]
    sealer.send(SealMany(tuple(items)), CloseMany((Close("attack", "signed"),)))
    assert sealer.ended()
    assert not [one for one, outcome in sealer.outcomes().items() if outcome.ok]
    leaves = check_log(sealer.state)
    recorded = {leaf["audit_id"]: leaf["outcome"] for leaf in leaves if leaf.get("outcome")}
    assert {recorded[item.audit_id] for item in items} == {"fault"}


def test_the_signed_is_what_was_framed_and_recorded_not_what_the_front_end_says(sealer: SealerProcess) -> None:
    """The front end cannot choose the digest: the sealer computes it from the payload, and records that."""
    (outcome,) = sealer.seal(sealer.item(payload=b"anything at all"))
    assert outcome.ok is not None
    digest = hashlib.sha256(b"anything at all").hexdigest()
    assert outcome.ok.statement_sha256 == digest
    sealer.link.close()
    sealer.status()
    (decided,) = [leaf for leaf in check_log(sealer.state) if leaf["kind"] == "decided"]
    assert decided["statement_sha256"] == digest
