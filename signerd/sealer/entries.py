"""What came of a record that was to be published after its answer: read from the outbox, beside the loop."""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeVar

import msgspec
from msgspec import UNSET

from signerd.attestation.bundle import with_log_entries
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.config_model import Config
from signerd.host.memfd import sealed_memfd
from signerd.sealer.database import failure_reason, open_read_only
from signerd.sealer.outbox import FILE_NAME
from signerd.wire.later import LaterBundle, LaterEntries
from signerd.wire.links import AdminAnswer, EntryCall
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import CallError

__all__ = ["MOST_ASKED", "EntryDesk", "EntryReader", "by_memfd", "no_entry"]

INLINE_MOST: Final = 256 * 1024
"""Bytes of a bundle within a frame, at most; what is larger goes by memfd."""
FRAME_ROOM: Final = 3 * 1024 * 1024
"""Bytes of an answer, its bundles included: the links' frames stay below 4 MiB, and one that does not ends the link."""
MOST_ASKED: Final = 4
"""Questions of one tenant that are read at once: each may bring 64 bundles of 1 MiB together anew (T15)."""
_encode: Final = msgspec.msgpack.Encoder().encode
T = TypeVar("T")
_ROWS: Final = (
    "SELECT bundle_sha256, keyid, publisher, entry, published_at FROM outbox "
    "WHERE audit_id = ? AND tenant = ? ORDER BY id"
)
_KEPT: Final = "SELECT bundle_sha256, envelope_sha256, bundle FROM kept WHERE audit_id = ? AND tenant = ? ORDER BY id"
_OVERLOADED: Final = CallError("daemon.overloaded", "entries_asked", "too many entries of this tenant are read at once")


class EntryReader:
    """A read-only connection to the outbox. ``logs`` are the configured ones: no other will ever answer."""

    def __init__(self, path: Path, logs: Collection[str]) -> None:
        """Open it; Fault as :meth:`read`."""
        self._logs = frozenset(logs)
        try:
            self._database = open_read_only(path)
        except sqlite3.Error as exc:
            _unusable(exc)

    def read(self, tenant: str, audit_id: str) -> LaterEntries:
        """Return what there is of the record, if it is that tenant's.

        Refuses ``request.malformed``, reason ``no_entry``: of such a record nothing was to be published after its
        answer, or that is too long ago; Fault ``transparency.unavailable`` where the outbox cannot be read.
        """
        try:
            rows = self._database.execute(_ROWS, (audit_id, tenant)).fetchall()
            kept = self._database.execute(_KEPT, (audit_id, tenant)).fetchall()
        except sqlite3.Error as exc:
            _unusable(exc)
        if not rows:
            raise no_entry()
        copies = {digest: (envelope, bundle) for digest, envelope, bundle in kept}
        grouped: dict[str, list[Sequence[Any]]] = {}
        for row in rows:
            grouped.setdefault(row[0], []).append(row)
        bundles = [self._bundle(digest, group, *copies.get(digest, ("", None))) for digest, group in grouped.items()]
        return LaterEntries(_worst({bundle.state for bundle in bundles}), tuple(bundles))

    def _bundle(
        self, digest: str, rows: Sequence[Sequence[Any]], envelope_sha256: str, kept: bytes | None
    ) -> LaterBundle:
        state = _worst({self._state(*row[2:]) for row in rows})
        entries = tuple(bytes(row[3]) for row in rows if row[3] is not None)
        whole = with_log_entries(kept, entries) if kept is not None and entries and state == "logged" else None
        return LaterBundle(
            rows[0][1],
            state,
            digest,
            envelope_sha256,
            entries,
            UNSET if whole is None else whole,
            UNSET if whole is None else hashlib.sha256(whole).hexdigest(),
        )

    def _state(self, publisher: str, entry: bytes | None, published_at: int) -> str:
        if entry is not None:
            return "logged"
        return "failed" if published_at or publisher not in self._logs else "pending"

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


class _Hands(Protocol):
    """What the desk has done by the sealer's process."""

    def answer(self, answer: AdminAnswer, fds: tuple[int, ...]) -> None:
        """Send an answer; takes ``fds`` over."""

    def aside(self, work: Callable[[], T], done: Callable[[T | SignerdError], None]) -> None:
        """Run ``work`` beside the loop, then ``done`` within it."""


class EntryDesk:
    """Answers the front end, which says for which tenant it asks."""

    def __init__(self, hands: _Hands, state: Path, config: Config) -> None:
        self._hands = hands
        self._path = state / FILE_NAME
        self._logs = [publisher.name for publisher in config.publishers if publisher.kind == "log"]
        self._reader: EntryReader | None = None
        self._asked: Counter[str] = Counter()

    def call(self, call: EntryCall) -> None:
        """Answer one call, once it is read; ``daemon.overloaded``, ``entries_asked``, beyond :data:`MOST_ASKED`."""
        if self._asked[call.tenant] >= MOST_ASKED:
            self._hands.answer(AdminAnswer(call.id, error=_OVERLOADED), ())
            return
        self._asked[call.tenant] += 1

        def read() -> tuple[bytes, tuple[int, ...]]:
            found, fds = by_memfd(self._read(call), max(0, min(call.inline_max, INLINE_MOST)))
            text = _encode(found)
            if len(text) <= FRAME_ROOM:
                return text, fds
            for fd in fds:
                os.close(fd)
            raise Refusal("request.too_large", "answer_too_large", "the entries are larger than an answer may be")

        def done(result: tuple[bytes, tuple[int, ...]] | SignerdError) -> None:
            self._asked[call.tenant] -= 1
            if isinstance(result, SignerdError):
                error = CallError(result.code, result.reason, result.public, str(result.args[0]))
                self._hands.answer(AdminAnswer(call.id, error=error), ())
            else:
                self._hands.answer(AdminAnswer(call.id, result[0]), result[1])

        self._hands.aside(read, done)

    def _read(self, call: EntryCall) -> LaterEntries:
        if self._reader is None:
            # Where nothing was ever to be published there is no file, and no record of anybody's.
            if not self._path.exists():
                raise no_entry()
            self._reader = EntryReader(self._path, self._logs)
        return self._reader.read(call.tenant, call.audit_id)


def no_entry() -> Refusal:
    """Return the refusal for a record that is not there, or another tenant's (T14)."""
    return Refusal("request.malformed", "no_entry", "nothing of such a record is kept to be published later")


def by_memfd(found: LaterEntries, limit: int) -> tuple[LaterEntries, tuple[int, ...]]:
    """Return it with the bundles above ``limit`` bytes in memfds, and those; with all of them there where the rest
    would not leave a frame half its room. There are no more bundles than keys: one message carries as many."""
    inline = [len(one.bundle) for one in found.bundles if isinstance(one.bundle, bytes) and len(one.bundle) <= limit]
    if sum(inline) > FRAME_ROOM // 2:
        limit = 0
    fds: list[int] = []
    moved = []
    try:
        for one in found.bundles:
            bundle = one.bundle
            if isinstance(bundle, bytes) and len(bundle) > limit:
                fds.append(sealed_memfd("bundle", bundle))
                one = msgspec.structs.replace(one, bundle=Descriptor(len(fds) - 1, len(bundle)))  # noqa: PLW2901
            moved.append(one)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return msgspec.structs.replace(found, bundles=tuple(moved)), tuple(fds)


def _worst(states: Collection[str]) -> str:
    return next(state for state in ("failed", "pending", "logged") if state in states)


def _unusable(exc: sqlite3.Error) -> NoReturn:
    reason = f"outbox_{failure_reason(exc)}"
    raise Fault(
        "transparency.unavailable", reason, "what was published cannot be read", operator=f"outbox: {exc}"
    ) from exc
