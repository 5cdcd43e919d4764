"""What the configuration says of one key, as the ring takes it."""

from dataclasses import dataclass, replace

from signerd.sealer.job import Pinned
from signerd.sealer.keyless import Certificates
from signerd.verification.fido2 import Credential
from signerd.verification.keys import PublicKey
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError

__all__ = ["KeySpec"]


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What the configuration says of a key. ``generate`` is an algorithm, empty for a key that must be there.

    ``plans`` None is every plan. ``max_age_ms`` 0 is no maximum. ``certificates`` is there for a keyless key.
    ``presence`` is the reference of the credential whose holder approves each signature, in ``presence_s`` seconds;
    ``enrolled`` is there for such a credential, less its SPKI, which the ring has; ``purposes`` and ``mac``, its
    algorithm, for a key that makes MACs.
    """

    key: str
    tenant: str
    backend: str
    source: str
    generate: str = ""
    plans: frozenset[str] | None = None
    require_hardware: bool = False
    max_age_ms: int = 0
    warn_ms: int = 0
    profile: str = "world"
    certificates: Certificates | None = None
    presence: str = ""
    presence_s: float = 0.0
    enrolled: Credential | None = None
    purposes: frozenset[str] = frozenset()
    mac: str = ""

    def pinned(self, entry: RingEntry, public: PublicKey | None, prehash: bool, unfit: CallError | None) -> Pinned:
        """Return a version of this key as jobs are checked against it."""
        credential = None if self.enrolled is None else replace(self.enrolled, spki=entry.spki)
        return Pinned(
            entry,
            public,
            self.backend,
            prehash,
            unfit,
            self.plans,
            self.certificates,
            self.presence,
            self.presence_s,
            credential,
            self.purposes,
        )
