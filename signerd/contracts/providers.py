"""What each kind of plugin must be able to do, on one screen.

A method refuses by raising ``Refusal`` or ``Fault`` (:mod:`signerd.errors`); any other exception is a defect of the
plugin, and the host turns it into ``PluginError``. A method that returns ``Maybe[T]`` answers at once with a ``T``
where it can (warm cache, local file), or returns an awaitable, which the host runs in a trio task for at most ten
seconds, and no longer than the request has. No method returns a bare boolean: evidence or an exception.
"""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from signerd.contracts.values import (
    Caller,
    Enrolment,
    Entitlement,
    KeyDescription,
    LogFound,
    MacChecked,
    MacResult,
    Principal,
    ProofOfEntitlement,
    Release,
    Rotated,
    SignatureResult,
    SignFor,
)

__all__ = [
    "AuditSink",
    "Authenticator",
    "Enroller",
    "EntitlementSource",
    "Finder",
    "Generator",
    "KeyBackend",
    "Keyless",
    "Macs",
    "Maybe",
    "PayloadType",
    "PredicateType",
    "ReleaseCheck",
    "Rotator",
    "TransparencyLog",
]

T = TypeVar("T")
Maybe: TypeAlias = T | Awaitable[T]


@runtime_checkable
class Authenticator(Protocol):
    """Turns what a caller has shown into a Principal."""

    def authenticate(self, caller: Caller) -> Maybe[Principal | None]:
        """Return who it is, or None where this authenticator has no say; refuse with ``auth.*``."""


@runtime_checkable
class EntitlementSource(Protocol):
    """Knows plans and limits."""

    def entitle(self, principal: Principal, proof: ProofOfEntitlement) -> Maybe[Entitlement]:
        """Return the plan in force; refuse with ``entitlement.*``. Say in ``degraded`` what was not fresh."""


@runtime_checkable
class ReleaseCheck(Protocol):
    """Knows genuine releases."""

    def check(self, digest: str, principal: Principal) -> Maybe[Release]:
        """Return the evidence that ``sha256:…`` is a genuine release; refuse with ``release.*``."""


@runtime_checkable
class PredicateType(Protocol):
    """One predicate type of the catalogue."""

    uri: str
    """The predicateType on the wire, an absolute URI (in-toto Statement v1)."""
    names: tuple[str, ...]
    """Short names and aliases that are accepted on input; the first is the preferred one."""
    needs_release: bool
    """Whether the digest of the tool that made the content must be cleared first."""
    needs_policy: bool
    """Whether the request must state the policy (digest and view set) that the content was judged by."""
    heavy: bool
    """Whether ``check`` is slow whatever the size, so that it runs in the document worker."""

    def check(self, document: dict[str, object]) -> None:
        """Refuse with ``predicate.invalid`` and ``details.pointer`` (RFC 6901) what is not of this type."""

    def policy(self, document: dict[str, object]) -> tuple[str, str] | None:
        """Return (policy digest, view set) that the document itself states, or None."""


@runtime_checkable
class PayloadType(Protocol):
    """What a predicate type has too where its documents may be signed bare, each the payload of an envelope itself.

    ``check``, ``policy`` and ``needs_release`` hold for a bare document as for a predicate; the record and the tenant's
    lists name it by the predicate type's URI.
    """

    payload_type: str
    """The DSSE payloadType: a media type without parameters, never the Statement's; one type for each."""


@runtime_checkable
class KeyBackend(Protocol):
    """Holds keys and signs; lives in a key worker, sees bytes and strings only.

    ``key`` is a reference such as ``file:default``, the scheme of which is this backend's. Faults are ``key.*``
    codes only. ``capabilities`` names the optional Protocols that it implements, and ``attest`` where
    ``KeyDescription.hardware`` is what the hardware says: declared, never probed.
    """

    capabilities: tuple[str, ...]

    def describe(self, key: str) -> KeyDescription:
        """Return the public half of ``key``; ``key.not_found`` where there is none."""

    def sign(self, key: str, message: bytes) -> SignatureResult:
        """Sign ``message`` (or the SHA-256 digest, where ``describe`` said ``prehash``) and name the key used."""


@runtime_checkable
class Generator(Protocol):
    """Capability ``generate``."""

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        """Make a new key under a reference that is free; never overwrite one (``key.forbidden``, ``exists``)."""


@runtime_checkable
class Rotator(Protocol):
    """Capability ``rotate``."""

    def rotate(self, key: str, algorithm: str) -> Rotated:
        """Make a new key beside ``key`` under a name that is free; ``key`` itself stays, and keeps its name.

        ``key.not_found`` where there is no ``key``; nothing is ever overwritten.
        """
        ...


@runtime_checkable
class Enroller(Protocol):
    """Capability ``enrol``; beside it stands ``presence``, where ``sign`` waits for a person's touch and the signature
    of a FIDO2 key is an assertion (:mod:`signerd.verification.fido2`)."""

    def enrol(self, key: str, algorithm: str) -> Enrolment:
        """Have an authenticator make a credential under a reference that is free; an empty ``algorithm`` is the first
        that it has. Never overwrite one (``key.forbidden``, ``exists``)."""
        ...


@runtime_checkable
class Keyless(Protocol):
    """Capability ``keyless``: the backend has no lasting keys, each signature is by the key of a certificate.

    ``describe`` gives the algorithm, with ``keyid`` and ``spki`` empty.
    """

    def sign_for(self, key: str, message: bytes, signer: SignFor) -> SignatureResult:
        """Sign in the name that ``signer`` proves, or that the backend has of its own, and bring the certificate's
        chain. A certificate for one identity never signs for another. ``key.forbidden`` for a token that is not taken.
        """
        ...


@runtime_checkable
class Macs(Protocol):
    """Capability ``hmac``: the backend's keys are secrets that make MACs, and sign nothing.

    ``message`` comes in parts of any length, each good until the next is asked for; what it raises is not the
    backend's to catch. Both methods are called in several threads at once. ``key.algorithm_refused`` where
    ``algorithm`` is not the key's.
    """

    def hmac(self, key: str, algorithm: str, message: Iterable[bytes | memoryview]) -> MacResult:
        """Return the MAC over ``message``; ``key.not_found`` where there is no ``key``."""
        ...

    def check_hmac(
        self, key: str, algorithm: str, message: Iterable[bytes | memoryview], mac: bytes
    ) -> MacChecked:
        """Say whether ``mac`` is the MAC over ``message``, in a time that does not depend on where they differ.

        One of another length than the algorithm's never is.
        """
        ...


@runtime_checkable
class TransparencyLog(Protocol):
    """Publishes what was signed and brings the proof back; lives in a publisher, and holds no state.

    ``kind`` is ``log`` (the proof is a ``TransparencyLogEntry`` of protobuf-specs as JSON) or ``stamp`` (a DER
    ``TimeStampResp``, RFC 3161). Faults are ``transparency.unavailable`` only. A log that is a :class:`Finder` too says
    so: its attribute ``capabilities`` holds ``find``; it may be absent.
    """

    kind: str

    def submit(self, payload_digest: bytes, signature: bytes, verifier: bytes) -> Maybe[bytes]:
        """Return the proof, already checked against what the settings say of the log or authority.

        ``payload_digest`` is that of the PAE by the key's own hash, ``verifier`` the key's SPKI or the leaf certificate
        in DER; a stamp is over the bytes of ``signature``. What was submitted before has a proof again. May be called
        many times at once, and is cut short when the publisher's caller gives up.
        """


@runtime_checkable
class Finder(Protocol):
    """Capability ``find`` of a log."""

    def find(self, payload_digest: bytes) -> Maybe[LogFound]:
        """Return the entries over this digest among the log's newest, each checked as those of ``submit`` are; at most
        eight. How far back it looks is the plugin's to bound."""


@runtime_checkable
class AuditSink(Protocol):
    """Takes copies of audit leaves; no process of this release calls it."""

    def ship(self, leaves: Sequence[bytes]) -> None:
        """Return once all are kept, in their order; ``audit.unavailable`` otherwise. The same may come again."""
