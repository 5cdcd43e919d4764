"""One payload on its way through the sealer."""

import hashlib
import mmap
import os
from dataclasses import dataclass, field

from msgspec import UNSET

from signerd.attestation.dsse import pae_header
from signerd.attestation.log_entry import LogEntry
from signerd.contracts.services import Leaf
from signerd.sealer.keyless import Certificates
from signerd.sealer.leaves import decided_leaf
from signerd.verification.keyless import Vouched
from signerd.verification.keys import PublicKey
from signerd.wire.links import SealItem
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError

__all__ = ["Job", "Made", "Pinned", "Violation"]


class Violation(Exception):  # a broken or hostile front end, not an error of ours
    """A message out of shape or order: the link is closed, and what is open is recorded as it stands (T27)."""

    def __init__(self, reason: str, audit_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.audit_id = audit_id


@dataclass(frozen=True, slots=True)
class Pinned:
    """A key of the ring with its public half loaded: what every signature is verified against.

    Of a keyless key ``public`` is None, and ``certificates`` says whose word is taken for the key that signed.
    ``unfit`` says why it does not sign now: its backend has not described it yet, or has another key in its place.
    ``plans`` are those that it signs for; None is every plan. ``purposes`` are those of a key that makes MACs, which
    has no public half and signs nothing.
    """

    entry: RingEntry
    public: PublicKey | None
    backend: str
    prehash: bool
    unfit: CallError | None = None
    plans: frozenset[str] | None = None
    certificates: Certificates | None = None
    purposes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Made:
    """A signature that verified, by ``public``; ``vouched`` is its certificate where a keyless key made it."""

    signature: bytes
    public: PublicKey
    vouched: Vouched | None = None


@dataclass(slots=True)
class Job:
    """A ``SealItem`` with what became of it so far.

    It is answered when its ``decided`` leaf is durable and no signature is missing, or at the first error after
    that. ``message`` is the PAE where a key wants all of it, else empty; ``message_fd`` is its memfd where it is
    large. ``proofs`` has what was published of each signature. ``ended`` is the outcome by which the front end gave the
    job up meanwhile. While ``aside``, a thread reads the memfds, which therefore stay open.
    """

    item: SealItem
    keys: tuple[Pinned, ...]
    deadline: float
    payload_fd: int | None = None
    statement_sha256: str = ""
    pae_sha256: bytes = b""
    message: bytes | mmap.mmap = b""
    message_fd: int | None = None
    index: int = -1
    leaf_hash: str = ""
    decision_digest: str = ""
    signatures: list[Made | None] = field(default_factory=list)
    proofs: list[list[LogEntry | bytes | None]] | None = None
    missing: int = 0
    bundle_digests: tuple[str, ...] = ()
    error: CallError | None = None
    ended: str = ""
    answered: bool = False
    aside: bool = False

    @property
    def expires_at(self) -> int:
        """When the principal's credential ends, Unix milliseconds; 0 is never."""
        return self.item.principal_expires_at

    @property
    def durable(self) -> bool:
        """Whether the ``decided`` leaf is on disk."""
        return self.index >= 0

    def decided(self, now: int) -> Leaf:
        """Return the ``decided`` leaf, and keep the decision's digest. ``now`` is Unix milliseconds."""
        item = self.item
        leaf, self.decision_digest = decided_leaf(
            item.request, item.decision, item.audit_id, self.statement_sha256, item.payload_type, now
        )
        return leaf

    @property
    def publishes(self) -> bool:
        """Whether the answer waits for a log or an authority."""
        decision = self.item.decision
        return decision.transparency == "required" or decision.timestamp is not UNSET

    @property
    def waits(self) -> bool:
        """Whether nothing is signed before the decision is on the record: what is published, and a keyless key, for
        which a certificate is."""
        return self.publishes or any([pinned.certificates for pinned in self.keys])

    def beside(self, place: int) -> tuple[list[LogEntry], list[bytes]]:
        """Return the log entries and stamps of one signature."""
        if self.proofs is None:
            return [], []
        proofs = self.proofs[place]
        return [p for p in proofs if isinstance(p, LogEntry)], [p for p in proofs if isinstance(p, bytes)]

    @property
    def wants_message(self) -> bool:
        """Whether a key signs the PAE itself and not its SHA-256."""
        return not all([pinned.prehash for pinned in self.keys])

    def hash_inline(self, payload: bytes) -> None:
        """Compute the statement's digest and that of its PAE: the sealer never signs bytes that it did not frame."""
        message = pae_header(self.item.payload_type, len(payload)) + payload
        self.statement_sha256 = hashlib.sha256(payload).hexdigest()
        self.pae_sha256 = hashlib.sha256(message).digest()
        if self.wants_message:
            self.message = message

    def close_descriptors(self) -> None:
        """Close the memfds that the job owns; harmless when done twice, and while ``aside``."""
        if self.aside:
            return
        fds, self.payload_fd, self.message_fd = (self.payload_fd, self.message_fd), None, None
        for fd in fds:
            if fd is not None:
                os.close(fd)
