"""``transparency.entry``: what came of a record that is published after its answer.

The rules of :mod:`signerd.wire.signed` hold here too: results may grow, enumerated texts are plain str.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from signerd.wire.signed import Bin

__all__ = ["EntryOf", "LaterBundle", "LaterEntries"]


class EntryOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which record, of one's own tenant."""

    audit_id: Annotated[str, Meta(min_length=1, max_length=256)]
    """`receipt.audit_id` of the answer"""


class LaterBundle(msgspec.Struct, frozen=True):
    """One bundle of the answer, and the entries that came after it."""

    keyid: str
    """whose signature"""
    state: str
    """`pending`, `logged` or `failed`, of this bundle alone"""
    bundle_sha256: str
    """of the bundle as it was answered"""
    envelope_sha256: str
    """of its `dsseEnvelope`, which is the same in both; empty where nothing is kept of it"""
    entries: tuple[bytes, ...] = ()
    """entries that have come: `TransparencyLogEntry` as JSON, to stand in `tlogEntries`"""
    bundle: Bin | UnsetType = UNSET
    """the whole bundle, entries included, once they are there; absent where it was too large to be kept (1 MiB)"""
    complete_sha256: str | UnsetType = UNSET
    """SHA-256 of `bundle`"""


class LaterEntries(msgspec.Struct, frozen=True):
    """What there is by now."""

    state: str
    """`logged`: every entry is there; `pending`: one is to come; `failed`: one never will, for its log has not taken
    it for a week or is no longer configured"""
    bundles: tuple[LaterBundle, ...]
    """those of the answer, in its order"""
