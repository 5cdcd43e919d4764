"""The admin plane: what its methods are asked with, and what they answer.

The front end relays these unread; the sealer decodes and decides. The rules of :mod:`signerd.wire.params` and
:mod:`signerd.wire.signed` hold: an unknown key of params is refused, results may grow.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from signerd.wire.ceremonies import LARGEST_SIGNATURE
from signerd.wire.params import Sha256Reference, ShortText
from signerd.wire.signed import Bin

__all__ = [
    "BYPASS_MOST_MS",
    "RELEASE_MOST_MS",
    "AdminBypass",
    "AdminConfirm",
    "AdminReload",
    "Approval",
    "ApprovalOf",
    "ApprovalRow",
    "ApprovalSubmit",
    "Approvals",
    "ApproveRelease",
    "Done",
    "Granted",
    "KeyChange",
    "KeyChanges",
    "KeyGenerate",
    "KeyHistory",
    "KeyRevoke",
    "KeyRotate",
    "KeyVersion",
    "KeyVersions",
    "KeysVersions",
    "Published",
    "VersionChange",
]

BYPASS_MOST_MS: Final = 24 * 3_600_000
"""A bypass is for a night in which the licence server is down, not a way of life."""
RELEASE_MOST_MS: Final = 7 * 24 * 3_600_000
"""A release that is not signed properly within a week is no emergency any more."""

Reference = Annotated[str, Meta(min_length=1, max_length=256)]
Reason = Annotated[str, Meta(min_length=1, max_length=1000)]
Version = Annotated[int, Meta(ge=1, le=1_000_000)]
Ceremony = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Plan = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Time = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Cursor = Annotated[str, Meta(pattern=r"\A[0-9]{1,12}\Z")]


class KeyGenerate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A configured key that is not there yet is made."""

    key: Reference
    """its reference in the configuration"""
    reason: Reason
    """why, in the operator's words; recorded"""
    algorithm: ShortText | UnsetType = UNSET
    """for instance `ES256`; absent: as the configuration says"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class KeyRotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key gets a new version; the one that signed before ends with the overlap."""

    key: Reference
    """its reference"""
    reason: Reason
    """why; recorded"""
    algorithm: ShortText | UnsetType = UNSET
    """of the new version; absent: as before"""
    handle: Reference | UnsetType = UNSET
    """what the backend calls a version that is there already; absent: the backend makes one"""
    overlap_s: Annotated[int, Meta(ge=0, le=86_400)] | UnsetType = UNSET
    """how long the version before may finish what was decided with it; absent: not at all"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class VersionChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a key is suspended, comes back, or retires."""

    key: Reference
    """its reference"""
    reason: Reason
    """why; recorded"""
    version: Version | UnsetType = UNSET
    """absent: the newest"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class KeyRevoke(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a key never signs again."""

    key: Reference
    """its reference"""
    reason: Reason
    """why, in the operator's words; recorded"""
    cause: Literal["unspecified", "superseded", "compromised", "cessation"] | UnsetType = UNSET
    """what verifiers go by; absent: `unspecified`"""
    invalid_since: Time | UnsetType = UNSET
    """with `compromised`: nothing that was signed at or after this time counts; absent: nothing at all"""
    version: Version | UnsetType = UNSET
    """absent: the newest"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class KeyVersion(msgspec.Struct, frozen=True):
    """One version of a key."""

    key: str
    """its reference"""
    tenant: str
    """whose it is"""
    version: int
    """from 1"""
    keyid: str
    """`sha256:` and the hex SHA-256 of its SubjectPublicKeyInfo"""
    algorithm: str
    """for instance `ES256`"""
    status: str
    """`active`, `pending`, `retiring`, `retired`, `suspended`, `revoked` or `expired`"""
    added_at: int
    """since when it may sign"""
    expires_at: int | UnsetType = UNSET
    """past it the key does not sign"""
    retire_at: int | UnsetType = UNSET
    """end of the overlap, or of the version"""
    revoked_at: int | UnsetType = UNSET
    """since when it is revoked"""
    cause: str | UnsetType = UNSET
    """why it was revoked"""
    invalid_since: int | UnsetType = UNSET
    """what was signed at or after this time does not count"""
    handle: str | UnsetType = UNSET
    """what the backend calls this version, where that is not the reference"""
    hardware: bool | UnsetType = UNSET
    """whether the backend attests that it lives in hardware"""


class KeyVersions(msgspec.Struct, frozen=True):
    """The versions that an order has made or changed, or a page of all of them."""

    keys: tuple[KeyVersion, ...]
    """by reference and version"""
    next: str | UnsetType = UNSET
    """cursor of the next page, where there is one"""


class KeysVersions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every version of every key, of all tenants."""

    key: Reference | UnsetType = UNSET
    """of this reference alone"""
    cursor: Cursor | UnsetType = UNSET
    """`next` of the page before"""


class KeyHistory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has happened to keys, as the audit log tells it."""

    key: Reference | UnsetType = UNSET
    """to this one alone"""
    cursor: Cursor | UnsetType = UNSET
    """`next` of the page before"""


class KeyChange(msgspec.Struct, frozen=True):
    """One change, and the version as it was after it."""

    change: str
    """`generate`, `import`, `rotate`, `suspend`, `resume`, `revoke`, `retire`, `attest` or `restore`"""
    time: int
    """when"""
    key: str
    """reference"""
    version: int
    """which version of it"""
    keyid: str
    """its key id"""
    status: str
    """the status after the change"""
    by: str | UnsetType = UNSET
    """who ordered it, for instance `uid:1000`; absent: the daemon itself"""
    reason: str | UnsetType = UNSET
    """why, in the operator's words"""
    cause: str | UnsetType = UNSET
    """of a revocation"""
    invalid_since: int | UnsetType = UNSET
    """of a revocation"""


class KeyChanges(msgspec.Struct, frozen=True):
    """Changes, oldest first."""

    changes: tuple[KeyChange, ...]
    """at most a page"""
    next: str | UnsetType = UNSET
    """cursor of the next page, where there is one"""


class Published(msgspec.Struct, frozen=True):
    """What verifiers need, as documents."""

    jwks: Bin
    """JWK Set (RFC 7517)"""
    trusted_root: Bin
    """Sigstore trusted root (protobuf-specs, JSON)"""
    revocations: Bin
    """which versions do not count, since when and why"""


class ApprovalRow(msgspec.Struct, frozen=True):
    """A ceremony: an operation that waits for approvals, or did."""

    ceremony: str
    """its id"""
    operation: str
    """the method, for instance `keys.rotate`"""
    state: str
    """`open` (approvals are missing), `approved`, `used`, `expired` or `withdrawn`"""
    requester: str
    """who asked for it"""
    needed: int
    """how many approvals"""
    approvals: tuple[str, ...]
    """whose there are, by name"""
    requested_at: int
    """when"""
    expires_at: int
    """past it nothing is approved or executed"""


class Approvals(msgspec.Struct, frozen=True):
    """Ceremonies, newest first."""

    approvals: tuple[ApprovalRow, ...]
    """at most 200; those that ended more than 30 days ago are in the audit log alone"""


class ApprovalOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which ceremony."""

    ceremony: Ceremony
    """its id"""


class Approval(msgspec.Struct, frozen=True):
    """What an approver looks at, and signs."""

    ceremony: str
    """its id"""
    operation: str
    """the method, for instance `keys.rotate`"""
    payload: bytes
    """the order as JSON (RFC 8785): its SHA-256 is in the message"""
    message: bytes
    """what is to be signed: the RFC 8785 form of `{ceremony, operation, payload_sha256, expires_at, daemon}`"""
    namespace: str
    """the SSHSIG namespace of the signature"""
    state: str
    """as in the list"""
    needed: int
    """how many approvals"""
    approvals: tuple[str, ...]
    """whose there are"""
    expires_at: int
    """past it nothing is approved or executed"""


class ApprovalSubmit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One approval."""

    ceremony: Ceremony
    """its id"""
    signature: Annotated[str, Meta(min_length=1, max_length=LARGEST_SIGNATURE)]
    """armoured SSHSIG over the message"""


class AdminConfirm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person has looked at what waits for one."""

    what: Literal["pin", "clock", "rollback"]
    """`pin`: a token's PIN may be presented again. Nothing waits for `clock` or `rollback` in this version: they are
    `request.unsupported`"""
    reason: Reason
    """why; recorded"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class AdminReload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration is read again, as by SIGHUP."""

    reason: Reason | UnsetType = UNSET
    """why; recorded"""


class Done(msgspec.Struct, frozen=True):
    """It is done."""

    backends: tuple[str, ...] | UnsetType = UNSET
    """`admin.confirm`: those that may present their PIN again"""
    waiting: tuple[str, ...] | UnsetType = UNSET
    """`admin.reload`: sections that have changed and wait for the next start"""


class AdminBypass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant signs under a plan that the entitlement source was not asked for."""

    tenant: ShortText
    """which tenant"""
    plan: Plan
    """the plan that its receipts name"""
    reason: Reason
    """why; recorded"""
    expires_at: Time
    """at most 24 hours from now"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class ApproveRelease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool's digest counts as a release although no check clears it."""

    digest: Sha256Reference
    """of the tool"""
    reason: Reason
    """why; recorded"""
    expires_at: Time
    """at most 7 days from now"""
    tenant: ShortText | UnsetType = UNSET
    """for this tenant alone; absent: for all"""
    version: Annotated[str, Meta(pattern=r"\A[0-9]{4}\.[0-9]{1,2}\Z")] | UnsetType = UNSET
    """the tool's version (`year.month`), which a plan with a window asks for"""
    approval_id: Ceremony | UnsetType = UNSET
    """the ceremony that this very order was approved in"""


class Granted(msgspec.Struct, frozen=True):
    """A bypass or a release approval that is in force."""

    bypass_id: str
    """its id in the audit log"""
    expires_at: int
    """when it ends; a bypass ends with the next start of the machine too"""
