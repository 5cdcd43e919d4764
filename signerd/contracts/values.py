"""Frozen values that providers take and give. Times are Unix milliseconds, digests lowercase hex."""

import msgspec

__all__ = [
    "Caller",
    "Enrolment",
    "Entitlement",
    "KeyDescription",
    "LogFound",
    "MacChecked",
    "MacResult",
    "Peer",
    "PlanLimits",
    "Principal",
    "ProofOfEntitlement",
    "Release",
    "Rotated",
    "SignFor",
    "SignatureResult",
]


class Peer(msgspec.Struct, frozen=True):
    """Which process is at the other end, as the kernel says, read when the connection was accepted.

    ``start_time`` (clock ticks since boot, ``proc(5)`` field 22) tells two processes of one pid apart.
    """

    uid: int
    gid: int
    pid: int
    start_time: int
    unit: str | None = None
    executable: str | None = None


class Caller(msgspec.Struct, frozen=True):
    """What an authenticator sees: the peer and, where one was sent, a token with its proof."""

    peer: Peer
    audience: str
    token: str | None = None
    proof: str | None = None
    tenant: str | None = None


class Principal(msgspec.Struct, frozen=True):
    """Who is asking, for which tenant, with which scopes. ``how`` names the authenticator."""

    name: str
    tenant: str
    scopes: frozenset[str]
    how: str
    expires_at: int | None = None
    installation: str | None = None


class ProofOfEntitlement(msgspec.Struct, frozen=True):
    """The licence that a request showed: ``format`` is jwt, mtls or none."""

    format: str = "none"
    value: str | None = None


class PlanLimits(msgspec.Struct, frozen=True):
    """What a plan allows; None is no limit. ``rate`` per second with ``burst``; ``size`` in bytes."""

    concurrency: int
    size: int
    rate: float | None = None
    burst: int = 1
    daily: int | None = None


class Entitlement(msgspec.Struct, frozen=True):
    """The plan in force. ``window`` is (first, last) version as ``year.month``; ``source`` says who vouches for it.

    ``degraded`` names what was not fresh (``entitlement_cached``, ``bypass``): receipt and record repeat it.
    """

    plan: str
    limits: PlanLimits
    source: str
    window: tuple[str, str] | None = None
    degraded: tuple[str, ...] = ()


class Release(msgspec.Struct, frozen=True):
    """Evidence that a digest is a genuine release.

    ``how`` is signature, allowlist or approval. ``version`` (``year.month``) is the one that the evidence itself
    proves, never the caller's word.
    """

    digest: str
    how: str
    version: str | None = None
    degraded: tuple[str, ...] = ()


class KeyDescription(msgspec.Struct, frozen=True):
    """The public half of a key: SubjectPublicKeyInfo in DER (RFC 5280), ``keyid`` = ``sha256:`` + hex of its digest.

    ``prehash`` is ``"sha256"`` where the backend wants the digest of the message instead (ES256, RSA and FIDO2 only).
    ``chain`` is DER certificates, leaf first. ``hardware`` (capability ``attest``) says that the private half was made
    in hardware, has always been secret there and cannot leave it.

    A key that makes MACs (capability ``hmac``) has no public half: ``spki`` is empty, ``algorithm`` a name of
    :data:`signerd.attestation.macs.MACS`, and ``keyid`` is :func:`signerd.attestation.macs.mac_keyid`.
    """

    algorithm: str
    keyid: str
    spki: bytes
    capabilities: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()
    prehash: str | None = None
    hardware: bool = False


class LogFound(msgspec.Struct, frozen=True):
    """What a log has about some bytes: an entry each as JSON, proven. Looked at were those from ``first`` to before
    ``size``, the newest; there may be others before ``first``."""

    proofs: tuple[bytes, ...]
    first: int
    size: int


class Rotated(msgspec.Struct, frozen=True):
    """A new key that a backend made beside another, and ``key``: the reference by which it is asked for."""

    key: str
    description: KeyDescription


class Enrolment(msgspec.Struct, frozen=True):
    """A credential that an authenticator has made: its ``description``, and what its assertions are verified by
    (:class:`signerd.verification.fido2.Credential`).

    ``counter`` was in its first assertion. ``aaguid`` is the model and ``attestation`` the format of its statement, as
    the authenticator says: whether that is true was not judged.
    """

    description: KeyDescription
    rp_id: str
    origin: str
    user_verification: bool
    counter: int
    aaguid: str
    attestation: str


class SignFor(msgspec.Struct, frozen=True):
    """For whom a keyless key signs: ``identity_token`` is the OIDC token that the request brought, a secret; empty
    where it brought none."""

    tenant: str = ""
    audit_id: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"SignFor({self.tenant!r}, {self.audit_id!r}, ...)"


class SignatureResult(msgspec.Struct, frozen=True):
    """A signature (ECDSA in ASN.1 DER) and the keyid of the key that made it; ``chain`` is DER, leaf first."""

    signature: bytes
    keyid: str
    chain: tuple[bytes, ...] = ()


class MacResult(msgspec.Struct, frozen=True):
    """A MAC, whole, and the keyid of the key that made it."""

    mac: bytes
    keyid: str


class MacChecked(msgspec.Struct, frozen=True):
    """Whether a MAC is the key's over the message, and the keyid of the key that was asked."""

    valid: bool
    keyid: str
