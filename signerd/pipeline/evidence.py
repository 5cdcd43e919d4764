"""What each stage proves to the next. A value of these types exists only because its stage said yes."""

from dataclasses import dataclass

from signerd.attestation.output import COSIGN, OutputProfile
from signerd.attestation.statement import PAYLOAD_TYPE, Subject
from signerd.contracts.providers import PredicateType
from signerd.contracts.services import Charge, Remaining
from signerd.contracts.values import Entitlement, Principal, Release
from signerd.pipeline.request import SignRequest
from signerd.pipeline.tenants import Tenant
from signerd.wire.keyless import IdentityToken
from signerd.wire.methods import SignDsse, SignPayload, SignResult
from signerd.wire.params import Descriptor
from signerd.wire.ring import RingEntry

__all__ = ["Admission", "BuiltStatement", "Cleared", "Entitled", "Order", "Signed"]


@dataclass(frozen=True, slots=True)
class Order:
    """A request that is understood: well-formed, of a catalogued type, within the principal's scope.

    A subject that was given by descriptor has no digest yet; it is hashed before the Statement is built.
    ``transparency`` (none, async, required) and ``timestamp`` say what is to be published, ``output`` in which form
    the signatures leave. A document of another ``payload_type`` than a Statement's is ``bare``: signed itself.
    """

    request: SignRequest
    params: SignDsse | SignPayload
    principal: Principal
    tenant: Tenant
    predicate_type: PredicateType
    subjects: tuple[Subject, ...]
    transparency: str = "none"
    timestamp: bool = False
    output: OutputProfile = COSIGN
    payload_type: str = PAYLOAD_TYPE

    @property
    def bare(self) -> bool:
        """Whether the document itself is signed, and no Statement about it."""
        return self.payload_type != PAYLOAD_TYPE


@dataclass(frozen=True, slots=True)
class Entitled:
    """The order, and the plan that allows it."""

    order: Order
    entitlement: Entitlement


@dataclass(frozen=True, slots=True)
class Cleared:
    """The entitled order, and why the tool that made its content is trusted.

    ``binding`` says how the digest was tied to the caller: attested, asserted (the caller named it, which
    proves only that such a release exists: T5), or exempt (none was asked for). ``degraded`` says what was
    less than usual.
    """

    entitled: Entitled
    release: Release | None
    binding: str
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """The cleared order, the keys that will sign it, and the slot that it holds.

    ``identity`` is the token that the request brought for its keyless keys.
    """

    cleared: Cleared
    keys: tuple[RingEntry, ...]
    charge: Charge
    remaining: Remaining
    identity: IdentityToken | None = None


@dataclass(frozen=True, slots=True)
class BuiltStatement:
    """What will be signed: a Statement, or a bare document. ``payload_fd`` is its sealed memfd where ``payload`` is a
    Descriptor."""

    admission: Admission
    payload: bytes | Descriptor
    payload_fd: int | None
    predicate_sha256: str


@dataclass(frozen=True, slots=True)
class Signed:
    """What the caller gets; large values travel by the descriptors ``fds``, which the receiver closes."""

    audit_id: str
    result: SignResult
    fds: tuple[int, ...] = ()
