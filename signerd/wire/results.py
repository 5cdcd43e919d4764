"""What the other methods answer with: sessions, plans, keys, the daemon, the audit log.

The rules of :mod:`signerd.wire.signed` hold here too: results may grow, enumerated texts are plain str.
"""

import msgspec
from msgspec import UNSET, UnsetType

from signerd.wire.messages import Limits, Nonce
from signerd.wire.signed import Bin, Remaining, VerifyCommand

__all__ = [
    "AuditRecord",
    "AuditRecords",
    "BackendState",
    "Check",
    "DaemonHealth",
    "DaemonInfo",
    "EntitlementStatus",
    "Hardware",
    "KeyDescription",
    "KeyList",
    "KeySummary",
    "PeerInfo",
    "PluginInfo",
    "SessionBound",
    "SessionState",
    "VersionWindow",
]


class PeerInfo(msgspec.Struct, frozen=True):
    """The process at the other end, as the kernel names it."""

    uid: int
    """user"""
    gid: int
    """group"""
    pid: int
    """process"""
    unit: str | UnsetType = UNSET
    """systemd unit"""


class BackendState(msgspec.Struct, frozen=True):
    """A key backend."""

    name: str
    """its name in the configuration"""
    up: bool
    """whether its worker answers"""


class SessionState(msgspec.Struct, frozen=True):
    """Who the daemon takes the caller for."""

    principal: str
    """for instance `uid:1000`"""
    tenant: str
    """whose keys, quota and records"""
    scopes: tuple[str, ...]
    """what it may do"""
    expires_at: int
    """Unix milliseconds; bind again before"""
    backends: tuple[BackendState, ...]
    """key backends of the tenant"""
    limits: Limits
    """those of this session"""
    peer: PeerInfo
    """the process that opened the connection"""
    installation: str | UnsetType = UNSET
    """installation that the token names"""


class SessionBound(SessionState, frozen=True, kw_only=True):
    """As `session.status`, and a nonce."""

    nonce: Nonce
    """for the next proof"""


class VersionWindow(msgspec.Struct, frozen=True):
    """Versions of the tool that the plan covers, as year.month."""

    first: str
    """the oldest"""
    last: str
    """the newest"""


class EntitlementStatus(msgspec.Struct, frozen=True):
    """The plan and what is left of it."""

    plan: str
    """its name"""
    remaining: Remaining
    """see Remaining"""
    window: VersionWindow | UnsetType = UNSET
    """see VersionWindow"""
    reset_at: int | UnsetType = UNSET
    """Unix milliseconds at which the daily count starts again"""


class KeySummary(msgspec.Struct, frozen=True):
    """A key of the tenant."""

    key: str
    """key reference"""
    keyid: str
    """`sha256:` and hex of SHA-256 of the SPKI; empty for a keyless key, whose version is 0"""
    algorithm: str
    """for instance `ES256`"""
    status: str
    """`active`, `pending`, `retiring`, `retired`, `suspended`, `revoked` or `expired`"""
    version: int | UnsetType = UNSET
    """from 1; each has a keyid of its own, and the reference means the newest"""
    expires_at: int | UnsetType = UNSET
    """Unix milliseconds; not valid from then on"""


class KeyList(msgspec.Struct, frozen=True):
    """The keys of the tenant."""

    keys: tuple[KeySummary, ...]
    """see KeySummary"""


class Hardware(msgspec.Struct, frozen=True):
    """Whether hardware holds the key."""

    attested: bool
    """whether its backend says that it was made there, was always secret and cannot leave"""
    evidence: Bin | UnsetType = UNSET
    """the proof"""


class KeyDescription(msgspec.Struct, frozen=True):
    """The public half of a key."""

    key: str
    """key reference"""
    keyid: str
    """`sha256:` and hex of SHA-256 of the SPKI; empty for a keyless key, as are the two below"""
    algorithm: str
    """for instance `ES256`"""
    spki: Bin
    """DER SubjectPublicKeyInfo"""
    public_key_pem: str
    """the same as PEM"""
    chain: tuple[Bin, ...]
    """DER certificates, leaf first; often empty"""
    status: str
    """as in `keys.list`"""
    added_at: int
    """Unix milliseconds; not valid before"""
    profile: str
    """compliance profile"""
    uses: tuple[str, ...]
    """what it may sign: `dsse` always, `cose` where it may sign in that output profile; `approval` alone of a FIDO2
    credential, which signs nothing itself"""
    hardware: Hardware
    """see Hardware"""
    verify_command: tuple[VerifyCommand, ...]
    """ready commands"""
    version: int | UnsetType = UNSET
    """from 1"""
    expires_at: int | UnsetType = UNSET
    """Unix milliseconds; not valid from then on"""
    revoked_at: int | UnsetType = UNSET
    """Unix milliseconds"""
    retire_at: int | UnsetType = UNSET
    """Unix milliseconds; rotated, and from then on it finishes nothing any more"""
    cause: str | UnsetType = UNSET
    """why it was revoked: `unspecified`, `superseded`, `compromised` or `cessation`"""
    invalid_since: int | UnsetType = UNSET
    """Unix milliseconds; compromised, and nothing made from then on is valid whatever a timestamp says"""
    presence: str | UnsetType = UNSET
    """reference of the FIDO2 credential whose holder must approve each signature by a touch"""


class PluginInfo(msgspec.Struct, frozen=True):
    """A loaded plugin."""

    name: str
    """distribution"""
    version: str
    """its version"""
    digest: str
    """hex of SHA-256 of its RECORD"""
    certificate: str | UnsetType = UNSET
    """key id of who certified its conformance, and the day: `sha256:… 2026-11-03`"""


class DaemonInfo(msgspec.Struct, frozen=True):
    """What runs here."""

    version: str
    """version of signerd"""
    uptime_s: int
    """seconds since start"""
    plugins: tuple[PluginInfo, ...]
    """see PluginInfo"""
    backends: tuple[BackendState, ...]
    """key backends of the tenant; on the admin socket those of all"""
    profiles: tuple[str, ...]
    """output profiles that it serves"""
    limits: Limits
    """see Limits"""
    checkpoints: str
    """whether the audit log is checkpointed: `off` or `on`"""
    separation: str | UnsetType = UNSET
    """what keeps the front end from the sealer's files; `process`: nothing but the process boundary"""
    development: bool | UnsetType = UNSET
    """true where editable installations of plugins may load"""
    notices: tuple[str, ...] | UnsetType = UNSET
    """sentences for people about what it does not do"""


class Check(msgspec.Struct, frozen=True):
    """One check of health."""

    name: str
    """what was looked at"""
    ok: bool
    """whether it works"""


class DaemonHealth(msgspec.Struct, frozen=True):
    """Whether it can sign."""

    ready: bool
    """the audit log can be written and enough backends are up"""
    checks: tuple[Check, ...]
    """see Check"""


class AuditRecord(msgspec.Struct, frozen=True):
    """A leaf of the audit log."""

    audit_id: str
    """id that the leaves of one request share"""
    index: int
    """place of the leaf, from 0"""
    leaf: Bin
    """RFC 8785 bytes of the record"""


class AuditRecords(msgspec.Struct, frozen=True):
    """A page of the audit log."""

    records: tuple[AuditRecord, ...]
    """see AuditRecord"""
    next: str | UnsetType = UNSET
    """cursor of the next page; absent on the last"""
