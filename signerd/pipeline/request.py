"""One request on its way through the pipeline."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from signerd.contracts.values import Principal
from signerd.errors import Refusal

if TYPE_CHECKING:
    from signerd.pipeline.evidence import Order
    from signerd.wire.methods import SignDsse, SignPayload

__all__ = ["SignRequest"]


@dataclass(slots=True)
class SignRequest:
    """What came in, and what the stages have learnt so far: a refusal's record says as much as was known.

    ``params`` is undecoded msgpack, or what a batch has already decoded, or why it could not be. ``fds`` are
    the descriptors that came with the frame, ``owned`` those that were made on the way; whoever drives the
    story closes both when it ends. ``deadline`` is monotonic seconds. ``settled`` says that the sealer has
    closed the record itself, or will. ``second_id`` names the record that a fallback key has begun. ``purpose`` and
    ``key`` are those of a MAC, which has no ``order``.
    """

    audit_id: str
    method: str
    params: "msgspec.Raw | SignDsse | SignPayload | Refusal"
    bound: Principal | None
    deadline: float
    traceparent: str = ""
    fds: tuple[int, ...] = ()
    principal: Principal | None = None
    order: "Order | None" = None
    predicate_sha256: str = ""
    owned: list[int] = field(default_factory=list)
    settled: bool = False
    second_id: str = ""
    purpose: str = ""
    key: str = ""

    @property
    def record_id(self) -> str:
        """The name of the record in use."""
        return self.second_id or self.audit_id
