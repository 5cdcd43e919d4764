"""What the sealer tells the front end of its keys and of the exceptions in force; private, as all of that link."""

import msgspec

from signerd.wire.worker_calls import CallError

__all__ = ["AbsentKeys", "Grant", "GrantsChanged", "RingChange", "RingChanged", "RingEntry"]


class RingEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a key, public half only. Times are Unix milliseconds; 0 is never.

    ``handle`` is what the backend calls this version; empty: the reference itself. A rotated version is ``retiring``
    and signs until ``retire_at`` what was decided with it. ``cause`` says why it was revoked; with ``compromised``,
    nothing that was made at or after ``invalid_since`` is valid. ``hardware``: its backend attests that the private
    half was made in hardware and cannot leave it.
    """

    key: str
    tenant: str
    version: int
    keyid: str
    algorithm: str
    spki: bytes
    source: str
    status: str
    added_at: int
    expires_at: int = 0
    revoked_at: int = 0
    handle: str = ""
    retire_at: int = 0
    cause: str = ""
    invalid_since: int = 0
    hardware: bool = False

    @property
    def name(self) -> str:
        """What the backend is asked for."""
        return self.handle or self.key

    @property
    def makes_macs(self) -> bool:
        """Whether it is a secret that makes MACs: it has no public half, and signs nothing."""
        return self.algorithm.startswith("HMAC-")

    @property
    def keyless(self) -> bool:
        """Whether no key is pinned: each signature brings a certificate. Its version is 0, and it is in no ring."""
        return not self.keyid


class RingChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of the ring as its leaf tells it: the version as it was after it, who ordered it and why.

    ``change`` is an operation of :mod:`signerd.wire.orders`, or what the sealer does itself: ``import`` (the key was
    there already), ``attest`` (what the backend says of its hardware has changed), ``restore`` (the ring's file was
    older than the log).
    """

    change: str
    entry: RingEntry
    time: int
    by: str = ""
    reason: str = ""


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception that an admin has made for a while: ``bypass`` of the entitlement source, or ``release`` approval.

    ``subject`` is the plan or the tool's digest; ``tenant`` is empty where it is for all. It ends at ``expires_at``
    (Unix milliseconds) and, where ``until_ms`` is not 0, when the monotonic clock of the boot ``boot`` reads that.
    """

    id: str
    kind: str
    subject: str
    expires_at: int
    tenant: str = ""
    version: str = ""
    boot: str = ""
    until_ms: int = 0


class GrantsChanged(msgspec.Struct, frozen=True, tag_field="type", tag="grants_changed"):
    """All exceptions that are in force now."""

    grants: tuple[Grant, ...]


class RingChanged(msgspec.Struct, frozen=True, tag_field="type", tag="ring_changed"):
    """Versions that are new or have changed; before ``opened``, the parts of a ring that one frame does not hold."""

    ring: tuple[RingEntry, ...]


class AbsentKeys(msgspec.Struct, frozen=True, tag_field="type", tag="absent_keys"):
    """Configured keys that the ring has never held, each with what its backend says: all that there are to tell."""

    errors: dict[str, CallError]
