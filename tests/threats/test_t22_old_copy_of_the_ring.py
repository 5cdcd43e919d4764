"""T22, the ring's part: whoever may write to the state directory puts an old ring back, or edits the one that is there.

The log is the authority. An old copy is rolled forward from it, so that no revocation, suspension or rotation is
undone; a row that no leaf backs does not sign. (Who edits the log as well must break its hashes.)
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fakes.life import Keys
from signerd.contracts.validity import check_validity
from signerd.errors import Refusal, SignerdError
from signerd.sealer import ring
from signerd.wire.ring import RingEntry


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys(tmp_path)
    made.done("generate")
    yield made
    made.close()


def copy_of(keys: Keys, name: str) -> Path:
    """The attacker keeps the ring as it is now."""
    kept = keys.folder / f"kept-{name}"
    source = sqlite3.connect(keys.folder / ring.FILE_NAME)
    target = sqlite3.connect(kept)
    source.backup(target)
    source.close()
    target.close()
    return kept


def put_back(keys: Keys, kept: Path) -> None:
    keys.close()
    for suffix in ("", "-wal", "-shm"):
        (keys.folder / (ring.FILE_NAME + suffix)).unlink(missing_ok=True)
    shutil.copy(kept, keys.folder / ring.FILE_NAME)
    keys.open()


def edit(keys: Keys, statement: str, *values: object) -> None:
    keys.close()
    database = sqlite3.connect(keys.folder / ring.FILE_NAME, isolation_level=None)
    database.execute(statement, values)
    database.close()
    keys.open()


def signs(keys: Keys, entry: RingEntry) -> str:
    """Empty where the sealer would sign with this version now; else why not."""
    pinned = keys.ring.pins[entry.keyid]
    try:
        check_validity(pinned.entry, keys.clock.now_ms())
    except SignerdError as error:
        return error.reason
    return "" if pinned.unfit is None else pinned.unfit.reason


CHANGES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "revoked": ("revoke", {}, "revoked"),
    "suspended": ("suspend", {}, "suspended"),
    "retired": ("retire", {}, "retired"),
    "rotated": ("rotate", {}, "retired"),
}


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_an_old_copy_undoes_nothing(keys: Keys, what: str, caplog: pytest.LogCaptureFixture) -> None:
    operation, fields, then = CHANGES[what]
    (first,) = keys.life.versions("file:a")
    kept = copy_of(keys, what)
    keys.done(operation, **fields)
    after = keys.life.versions()
    assert signs(keys, first) == then
    put_back(keys, kept)
    assert signs(keys, first) == then
    assert keys.life.versions() == after
    assert keys.store.load() == list(after)
    assert "older than the log" in caplog.text
    restored = keys.life.history("file:a")[-1]
    assert (restored.change, restored.reason) == ("restore", "the ring was older than the log")
    leaves = len(keys.life.history())
    keys.restart()
    assert len(keys.life.history()) == leaves, "once is enough"


def test_a_ring_that_is_gone_comes_back_from_the_log(keys: Keys) -> None:
    keys.done("rotate", overlap_s=60)
    before = keys.life.versions()
    keys.close()
    for path in keys.folder.glob(ring.FILE_NAME + "*"):
        path.unlink()
    keys.open()
    assert keys.life.versions() == before
    assert [signs(keys, entry) for entry in before] == ["", ""]


EDITS: dict[str, str] = {
    "un-revoked": "UPDATE ring SET status = 'active', revoked_at = 0, cause = '', added_at = added_at - 1",
    "another key": "UPDATE ring SET spki = x'3059', keyid = 'sha256:00'",
    "another tenant": "UPDATE ring SET tenant = 'other'",
    "no end": "UPDATE ring SET expires_at = 9000000000000000",
    "another handle": "UPDATE ring SET handle = 'file:b'",
}


@pytest.mark.parametrize("what", sorted(EDITS))
def test_an_edited_row_does_not_sign(keys: Keys, what: str, caplog: pytest.LogCaptureFixture) -> None:
    (first,) = keys.life.versions("file:a")
    edit(keys, EDITS[what])
    assert signs(keys, first) == "ring_unlogged"
    assert keys.life.versions("file:a") == (first,), "the log says what the key is"
    assert "does not sign" in caplog.text
    assert len(keys.life.history()) == 1
    keys.restart()
    assert signs(keys, first) == "ring_unlogged", "and so until somebody orders something, on the record"
    keys.done("suspend")
    keys.done("resume")
    assert signs(keys, first) == ""
    keys.restart()
    assert signs(keys, first) == ""


def planted(version: int, key: str = "file:a") -> tuple[str, list[object]]:
    values: dict[str, object] = {
        "key": key, "tenant": "local", "version": version, "keyid": "sha256:" + "e" * 64, "algorithm": "ES256",
        "spki": b"0Y", "source": "file", "status": "active", "added_at": 1, "expires_at": 0, "revoked_at": 0,
    }  # fmt: skip
    marks = ", ".join("?" for _ in values)
    return f"INSERT INTO ring ({', '.join(values)}) VALUES ({marks})", list(values.values())  # noqa: S608  # constants


def test_a_planted_version_does_not_become_what_the_reference_means(keys: Keys) -> None:
    (first,) = keys.life.versions("file:a")
    statement, values = planted(2)
    edit(keys, statement, *values)
    assert keys.life.versions("file:a") == (first,)
    assert signs(keys, first) == ""
    with pytest.raises(KeyError):
        keys.ring.pins["sha256:" + "e" * 64]
    new, _ = keys.done("rotate")
    assert new.version == 2
    keys.restart()
    assert keys.life.versions("file:a")[-1] == new
    assert signs(keys, new) == ""


@pytest.mark.parametrize(
    ("operation", "fields"),
    [("suspend", {}), ("resume", {}), ("retire", {}), ("revoke", {}), ("rotate", {"overlap_s": 60}), ("generate", {})],
)
def test_no_order_makes_a_planted_key_ours(keys: Keys, tmp_path: Path, operation: str, fields: dict[str, Any]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    thief = Keys(elsewhere)
    (stolen,) = thief.done("generate", "file:b")
    thief.close()
    keys.store.put([stolen])
    keys.restart()
    (shown,) = keys.life.versions("file:b")
    assert shown == replace(stolen, status="unlogged", spki=b"")
    assert shown in keys.ring.snapshot(), "the front end refuses by it, and has no stranger's key to show"
    assert signs(keys, stolen) == "ring_unlogged"
    backed = {entry.keyid for entry in keys.life.backed()}
    assert stolen.keyid not in backed, "its public key is a stranger's: nobody is told to believe it"
    assert [entry.key for entry in keys.life.backed()] == ["file:a"]
    leaves = len(keys.life.history())
    assert keys.refused(operation, "file:b", **fields) == "request.conflict ring_unlogged"
    assert len(keys.life.history()) == leaves
    keys.restart()
    assert signs(keys, stolen) == "ring_unlogged"


def test_a_ring_without_its_log_signs_nothing(keys: Keys) -> None:
    (first,) = keys.life.versions("file:a")
    keys.close()
    for path in keys.folder.glob("audit.sqlite*"):
        path.unlink()
    keys.open()
    assert signs(keys, first) == "ring_unlogged"
    assert keys.ring.snapshot() == (replace(first, status="unlogged", spki=b""),)


@pytest.mark.parametrize("cut", [lambda text: text[:-5], lambda text: b"{}", lambda text: b"\xff"])
def test_a_leaf_that_is_none_stops_the_start(keys: Keys, cut: Callable[[bytes], bytes]) -> None:
    ((index, text),) = keys.audit.ring_leaves()
    keys.close()
    database = sqlite3.connect(keys.folder / "audit.sqlite", isolation_level=None)
    database.execute("UPDATE leaves SET leaf = ? WHERE leaf_index = ?", (cut(text), index))
    with pytest.raises(Exception, match="corrupt") as caught:
        keys.open()
    assert getattr(caught.value, "code", "") == "audit.unavailable"
    database.execute("UPDATE leaves SET leaf = ? WHERE leaf_index = ?", (text, index))
    database.close()
    keys.close()
    keys.open()
    assert json.loads(text)["kind"] == "ring"
    assert isinstance(caught.value, Exception)
    assert not isinstance(caught.value, Refusal)
