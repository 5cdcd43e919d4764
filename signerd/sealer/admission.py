"""What an item is checked by before it is sealed, and again before it is released.

The front end may be broken (T27), so nothing that it says of keys is believed: the ring says whose they are, for which
plans, and whether they sign now. What no honest front end sends is a :class:`~signerd.sealer.job.Violation`; what may
end in the middle of a request is an error that its caller is told.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import UNSET

from signerd.attestation.dsse import is_media_type
from signerd.attestation.macs import MACS
from signerd.attestation.output import OUTPUT_PROFILES
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts.services import Clock
from signerd.contracts.validity import check_validity
from signerd.errors import SignerdError
from signerd.host.memfd import check_sealed
from signerd.sealer.job import Pinned, Violation
from signerd.verification.keys import PublicKey
from signerd.verification.rekor2 import key_details
from signerd.wire.links import KeyUse, SealItem
from signerd.wire.mac_links import MacItem
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import STATEMENT_BYTES, CallError

__all__ = ["LONGEST_ID", "Admitted", "check_id", "check_payload", "keys_of", "mac_key_of", "refusal_of"]

LONGEST_ID: Final = 64


def check_id(audit_id: str) -> None:
    """Raise Violation for what is no audit id: 1 to 64 letters and digits of ASCII."""
    if not 0 < len(audit_id) <= LONGEST_ID or not audit_id.isascii() or not audit_id.isalnum():
        raise Violation("audit_id_shape", audit_id)


def keys_of(item: SealItem, ring: Mapping[str, Pinned]) -> tuple[Pinned, ...]:
    """Return the pinned versions that an item is decided for, in its order.

    Raises Violation for a payload type that its output profile has no place for, no key at all, a tenant that is not
    the request's, a key or version that is not in the ring or not that tenant's, one that makes MACs, a credential that
    approves and does not sign, a plan that the key does not sign for (T14), a keyless key whose time nothing would
    prove, a token that no key has a use for, an output profile that there is not or that has no place for a key,
    something to publish and no bundle that it could be of, a key of which no log takes signatures where one is to have
    them.
    """
    audit_id, decision = item.audit_id, item.decision
    if not decision.keys or item.request.tenant != decision.tenant:
        raise Violation("decision_shape", audit_id)
    keys = tuple([_key_of(item, use, ring) for use in decision.keys])
    if item.identity is not None and not any([pinned.certificates for pinned in keys]):
        raise Violation("identity_token", audit_id)
    _check_form(item, keys)
    _check_published(item, keys)
    return keys


def _check_form(item: SealItem, keys: Sequence[Pinned]) -> None:
    """Check what is to be framed, and how: a Statement in any profile, another media type in an envelope alone."""
    output = OUTPUT_PROFILES.get(item.profile)
    if output is None:
        raise Violation("output_profile", item.audit_id)
    if item.payload_type != PAYLOAD_TYPE and not (output.bare and is_media_type(item.payload_type)):
        raise Violation("payload_type", item.audit_id)
    if item.envelope and "envelope" not in output.includes:
        raise Violation("output_form", item.audit_id)
    # Each message is framed for its key: without one that can be named there is nothing to sign.
    framed = [pinned.public is not None and pinned.public.algorithm in output.algorithms for pinned in keys]
    if output.form == "messages" and not all(framed):
        raise Violation("output_form", item.audit_id)


def _check_published(item: SealItem, keys: Sequence[Pinned]) -> None:
    logged = item.rekor_request or item.decision.transparency is not UNSET
    if not logged and item.decision.timestamp is UNSET:
        return
    algorithms = [pinned.entry.algorithm for pinned in keys]
    places = OUTPUT_PROFILES[item.profile].bundled(algorithms, statement=item.payload_type == PAYLOAD_TYPE)
    if not places:
        raise Violation("nothing_to_publish", item.audit_id)
    for place in places:
        public = keys[place].public
        if logged and public is not None:
            _check_logged(public, item.audit_id)


def _key_of(item: SealItem, use: KeyUse, ring: Mapping[str, Pinned]) -> Pinned:
    try:
        # A keyless key has no id; its reference is its place in the ring.
        pinned = ring[use.keyid or use.key]
    except KeyError:
        raise Violation("foreign_key", item.audit_id) from None
    decision = item.decision
    _check_use(item.audit_id, decision.tenant, decision.plan, use, pinned)
    if pinned.credential is not None:
        raise Violation("approver_key", item.audit_id)
    if pinned.entry.makes_macs:
        raise Violation("mac_key", item.audit_id)
    ephemeral = decision.transparency != "required" and not decision.timestamp
    if ephemeral and pinned.certificates is not None and not pinned.certificates.ephemeral_ok:
        # Nothing proves when it was signed: verifiers refuse it once the certificate has ended.
        raise Violation("ephemeral", item.audit_id)
    return pinned


def mac_key_of(item: MacItem, ring: Mapping[str, Pinned]) -> Pinned:
    """Return the pinned version that makes or checks the MAC; raises Violation as :func:`keys_of`, also for a key that
    signs, another algorithm than the key's, a purpose that is not its own, or a MAC of another length."""
    audit_id, decision = item.audit_id, item.decision
    if item.request.tenant != decision.tenant:
        raise Violation("decision_shape", audit_id)
    try:
        pinned = ring[decision.key.keyid]
    except KeyError:
        raise Violation("foreign_key", audit_id) from None
    _check_use(audit_id, decision.tenant, decision.plan, decision.key, pinned)
    entry = pinned.entry
    if not entry.makes_macs or decision.algorithm != entry.algorithm:
        raise Violation("mac_algorithm", audit_id)
    if decision.purpose not in pinned.purposes:
        raise Violation("foreign_purpose", audit_id)
    if item.mac is not None and len(item.mac) != MACS[entry.algorithm].mac_bytes:
        raise Violation("mac_length", audit_id)
    return pinned


def _check_use(audit_id: str, tenant: str, plan: str, use: KeyUse, pinned: Pinned) -> None:
    entry = pinned.entry
    if entry.tenant != tenant or entry.key != use.key or entry.keyid != use.keyid:
        raise Violation("foreign_key", audit_id)
    if entry.version != use.version:
        raise Violation("foreign_key_version", audit_id)
    if pinned.plans is not None and plan not in pinned.plans:
        raise Violation("foreign_plan", audit_id)


def _check_logged(public: PublicKey, audit_id: str) -> None:
    try:
        key_details(public)
    except SignerdError:
        raise Violation("unlogged_key", audit_id) from None


def check_payload(item: SealItem, fd: int) -> None:
    """Raise Violation for a memfd that is empty, unsealed, too large or of another size than the item names."""
    try:
        assert isinstance(item.payload, Descriptor)
        if item.payload.size < 1:
            raise Violation("descriptor_size", item.audit_id)
        check_sealed(fd, item.payload.size, STATEMENT_BYTES)
    except SignerdError as error:
        raise Violation(error.reason, item.audit_id) from error


class Admitted(Protocol):
    """What was admitted once: by which keys, until when (monotonic seconds), for whom until when (Unix milliseconds,
    0 is for ever)."""

    @property
    def involved(self) -> tuple[Pinned, ...]:
        """All keys that have a part in it, as they were then."""
        ...

    @property
    def deadline(self) -> float:
        """The request's end."""
        ...

    @property
    def expires_at(self) -> int:
        """The principal's end."""
        ...

    def unfit(self, pinned: Pinned) -> CallError | None:
        """Return why the key cannot do this very thing."""
        ...


def refusal_of(job: Admitted, ring: Mapping[str, Pinned], clock: Clock) -> CallError | None:
    """Return why the job may not be signed or released now: its principal, its keys, its time."""
    now = clock.now_ms()
    expires = job.expires_at
    if expires and now >= expires:
        return CallError("auth.token_expired", "expired", "the session's credential has expired; bind again")
    for used in job.involved:
        try:
            pinned = ring[used.entry.keyid or used.entry.key]
        except KeyError:
            pinned = used
        try:
            check_validity(pinned.entry, now)
        except SignerdError as error:
            return CallError(error.code, error.reason, error.public)
        unfit = pinned.unfit or job.unfit(pinned)
        if unfit is not None:
            return unfit
    if clock.monotonic() >= job.deadline:
        return CallError("request.deadline", "deadline", "the request's time is over")
    return None
