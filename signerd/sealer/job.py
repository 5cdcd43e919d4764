"""One payload on its way through the sealer."""

import hashlib
import os
from dataclasses import dataclass, field

from msgspec import UNSET

from signerd.attestation.cose import signature_structure
from signerd.attestation.dsse import pae_header
from signerd.attestation.log_entry import LogEntry
from signerd.attestation.output import OUTPUT_PROFILES, OutputProfile
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts.services import Leaf
from signerd.errors import SignerdError
from signerd.sealer.framing import Framed, cose_protected, framed_inline
from signerd.sealer.keyless import Certificates
from signerd.sealer.leaves import decided_leaf
from signerd.verification.fido2 import Credential
from signerd.verification.keyless import Vouched
from signerd.verification.keys import PublicKey
from signerd.verification.signed import own_hash
from signerd.wire.links import SealItem
from signerd.wire.params import Descriptor
from signerd.wire.presence import PresenceFacts
from signerd.wire.ring import RingEntry
from signerd.wire.signed import UserPresence
from signerd.wire.worker_calls import CallError

__all__ = ["Job", "Made", "Pinned", "Presented", "Violation"]


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
    ``plans`` are those that it signs for; None is every plan. ``presence`` is the reference of the credential whose
    holder must approve each signature within ``presence_s`` seconds, empty where nobody must. A ``credential`` approves
    in this way, and never signs a job itself. ``purposes`` are those of a key that makes MACs, which has no public half
    and signs nothing either.
    """

    entry: RingEntry
    public: PublicKey | None
    backend: str
    prehash: bool
    unfit: CallError | None = None
    plans: frozenset[str] | None = None
    certificates: Certificates | None = None
    presence: str = ""
    presence_s: float = 0.0
    credential: Credential | None = None
    purposes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Presented:
    """An approval that was given: the assertion verified, and its counter is on the record."""

    approval_id: str
    approver: Pinned
    assertion: bytes
    counter: int

    @property
    def envelope_keyid(self) -> str:
        """The assertion's keyid in the combined envelope: no verifier takes it for a signature of the PAE itself."""
        return f"fido2:{self.approver.entry.keyid}"

    @property
    def facts(self) -> PresenceFacts:
        """What the ``decided`` leaf says of it."""
        entry = self.approver.entry
        digest = hashlib.sha256(self.assertion).hexdigest()
        return PresenceFacts(self.approval_id, digest, self.counter, entry.key, entry.keyid)

    @property
    def shown(self) -> UserPresence:
        """What the caller is told of it."""
        return UserPresence(
            self.approval_id, self.approver.entry.key, self.envelope_keyid, self.counter, self.assertion
        )


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
    that. ``framed`` is what the keys sign: one for all, or one for each. ``log_digests`` are those by which a log would
    have it. ``proofs`` has what was published of each signature, ``presence`` the approval that it is signed by.
    ``ended`` is the outcome by which the front end gave the job up meanwhile. While ``aside`` is above zero, so many
    threads read the memfds, which therefore stay open.
    """

    item: SealItem
    keys: tuple[Pinned, ...]
    deadline: float
    payload_fd: int | None = None
    statement_sha256: str = ""
    framed: tuple[Framed, ...] = ()
    index: int = -1
    leaf_hash: str = ""
    decision_digest: str = ""
    signatures: list[Made | None] = field(default_factory=list)
    proofs: list[list[LogEntry | bytes | None]] | None = None
    missing: int = 0
    bundle_digests: tuple[str, ...] = ()
    envelope_digest: str = ""
    log_digests: tuple[str, ...] = ()
    error: CallError | None = None
    ended: str = ""
    answered: bool = False
    aside: int = 0
    presence: Presented | None = None

    @property
    def output(self) -> OutputProfile:
        """The form in which the signatures leave."""
        return OUTPUT_PROFILES[self.item.profile]

    @property
    def involved(self) -> tuple[Pinned, ...]:
        """The keys that sign, and the credential whose holder approved: what must be valid until the release."""
        return self.keys if self.presence is None else (*self.keys, self.presence.approver)

    @property
    def expires_at(self) -> int:
        """When the principal's credential ends, Unix milliseconds; 0 is never."""
        return self.item.principal_expires_at

    def unfit(self, pinned: Pinned) -> CallError | None:
        """Return why the key cannot sign this: its output profile, or its length."""
        try:
            if pinned.credential is None:
                self.output.check(pinned.entry.algorithm)
        except SignerdError as error:
            return CallError(error.code, error.reason, error.public)
        longest = None if pinned.public is None else pinned.public.longest_message
        if longest is None or self.pae_bytes <= longest:
            return None
        return CallError("request.too_large", "gost_payload_too_large", f"a GOST key signs {longest} bytes at most")

    @property
    def durable(self) -> bool:
        """Whether the ``decided`` leaf is on disk."""
        return self.index >= 0

    def decided(self, now: int) -> Leaf:
        """Return the ``decided`` leaf, and keep the decision's digest. ``now`` is Unix milliseconds."""
        item = self.item
        leaf, self.decision_digest = decided_leaf(
            item.request,
            item.decision,
            item.audit_id,
            self.statement_sha256,
            item.payload_type,
            now,
            self.presence.facts if self.presence else None,
            self.log_digests,
        )
        return leaf

    @property
    def bundled(self) -> tuple[int, ...]:
        """The places of the keys whose signatures leave as bundles, and are published where any is."""
        algorithms = [pinned.entry.algorithm for pinned in self.keys]
        return self.output.bundled(algorithms, statement=self.item.payload_type == PAYLOAD_TYPE)

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
    def pae_bytes(self) -> int:
        """How long the PAE is."""
        payload = self.item.payload
        size = payload.size if isinstance(payload, Descriptor) else len(payload)
        return len(pae_header(self.item.payload_type, size)) + size

    @property
    def wants_message(self) -> bool:
        """Whether a key signs the framed payload itself and not its SHA-256."""
        return not all([pinned.prehash for pinned in self.keys])

    @property
    def pae_sha256(self) -> bytes:
        """SHA-256 of the PAE, once it is known; in profile ``cose`` where somebody approves it, and not else."""
        return self.framed[-1].sha256

    def to_sign(self, place: int) -> Framed:
        """Return what the key at ``place`` signs."""
        return self.framed[place if len(self.framed) > 1 else 0]

    def frames(self, length: int) -> list[tuple[bytes, bool]]:
        """Return what stands before a payload of ``length`` bytes in each of ``framed``, and whether a key wants all of
        that: one PAE for all keys, or each key's own ``Sig_structure``, as it names the key, and behind these the PAE
        where somebody approves it."""
        pae = pae_header(self.item.payload_type, length)
        if self.output.form != "messages":
            return [(pae, self.wants_message)]
        # Whatever the keys sign, it is the PAE that somebody approves.
        approved = [(pae, False)] if self.item.approval_id or any([pinned.presence for pinned in self.keys]) else []
        return [
            *[
                (signature_structure(cose_protected(pinned.public), length), not pinned.prehash)
                for pinned in self.keys
                if pinned.public is not None
            ],
            *approved,
        ]

    def hash_inline(self, payload: bytes) -> None:
        """Compute the payload's digest and what is signed of it."""
        self.statement_sha256 = hashlib.sha256(payload).hexdigest()
        self.framed = tuple([framed_inline(frame, payload, whole=whole) for frame, whole in self.frames(len(payload))])
        self.note_digests()

    def note_digests(self) -> None:
        """Note by which digests a log would have entries about this (hex), where one is asked: each key's own hash over
        the PAE. Whatever cuts the job short, its record says what to look for (T4)."""
        if self.item.decision.transparency is UNSET:
            return
        found = set()
        for place in self.bundled:
            pinned, framed = self.keys[place], self.to_sign(place)
            hashed = own_hash(pinned.entry.algorithm)
            if pinned.prehash or hashed is hashlib.sha256:
                found.add(framed.sha256.hex())
            elif hashed is not None:
                found.add(hashed(memoryview(framed.message)).hexdigest())
        self.log_digests = tuple(sorted(found))

    def close_descriptors(self) -> None:
        """Close the memfds that the job owns; harmless when done twice, and while ``aside``."""
        if self.aside:
            return
        payload_fd, self.payload_fd = self.payload_fd, None
        framed, self.framed = self.framed, ()
        for one in framed:
            one.close()
        if payload_fd is not None:
            os.close(payload_fd)
