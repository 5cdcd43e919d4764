"""Whether an item is one that an honest front end sends: its keys are the tenant's, its payload cannot change (T27)."""

from collections.abc import Mapping

from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.errors import SignerdError
from signerd.host.memfd import check_sealed
from signerd.sealer.job import Pinned, Violation
from signerd.wire.links import KeyUse, SealItem
from signerd.wire.worker_calls import STATEMENT_BYTES, Descriptor

__all__ = ["check_payload", "keys_of"]


def keys_of(item: SealItem, ring: Mapping[str, Pinned]) -> tuple[Pinned, ...]:
    """Return the keys of the decision as the ring has them; raises Violation for one that may not be named so."""
    audit_id, decision = item.audit_id, item.decision
    if item.payload_type != PAYLOAD_TYPE:
        raise Violation("payload_type", audit_id)
    if not decision.keys or item.request.tenant != decision.tenant:
        raise Violation("decision_shape", audit_id)
    keys = tuple([_key_of(item, use, ring) for use in decision.keys])
    if item.identity is not None and not any([pinned.certificates for pinned in keys]):
        raise Violation("identity_token", audit_id)
    return keys


def _key_of(item: SealItem, use: KeyUse, ring: Mapping[str, Pinned]) -> Pinned:
    try:
        # A keyless key has no id; its reference is its place in the ring.
        pinned = ring[use.keyid or use.key]
    except KeyError:
        raise Violation("foreign_key", item.audit_id) from None
    entry = pinned.entry
    if entry.tenant != item.decision.tenant or entry.key != use.key or entry.keyid != use.keyid:
        raise Violation("foreign_key", item.audit_id)
    if entry.version != use.version:
        raise Violation("foreign_key_version", item.audit_id)
    if pinned.plans is not None and item.decision.plan not in pinned.plans:
        raise Violation("foreign_plan", item.audit_id)
    if pinned.certificates is not None and not pinned.certificates.ephemeral_ok:
        # Nothing proves when it was signed: verifiers refuse it once the certificate has ended.
        raise Violation("ephemeral", item.audit_id)
    return pinned


def check_payload(item: SealItem, fd: int) -> None:
    """Raise Violation for a payload's descriptor that is no sealed memfd of its size."""
    try:
        assert isinstance(item.payload, Descriptor)
        if item.payload.size < 1:
            raise Violation("descriptor_size", item.audit_id)
        check_sealed(fd, item.payload.size, STATEMENT_BYTES)
    except SignerdError as error:
        raise Violation(error.reason, item.audit_id) from error
