"""The methods that version 1 serves today: params, results, scopes, and the one way to decode params.

Nothing that could change the meaning of a request is silently ignored: an unknown key, value or method is
``request.unsupported`` with ``details.name``; a wrong shape is ``request.malformed`` with ``details.field``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, cast, get_args

import msgspec
from msgspec import UNSET, Raw

from signerd.errors import Refusal
from signerd.wire import admin
from signerd.wire.decoding import decode_strict, malformed
from signerd.wire.later import EntryOf, LaterBundle, LaterEntries
from signerd.wire.macs import HmacCompute, HmacVerify, MacComputed, MacVerified
from signerd.wire.params import (
    AuditFilters,
    AuditQuery,
    Descriptor,
    Identity,
    KeysDescribe,
    NoParams,
    Options,
    Poe,
    PolicyMetadata,
    SessionBind,
    SignBatch,
    SignDsse,
    SignPayload,
    Subject,
    VerifyBatch,
    VerifyBundle,
)
from signerd.wire.results import (
    AuditRecord,
    AuditRecords,
    BackendState,
    Check,
    DaemonHealth,
    DaemonInfo,
    EntitlementStatus,
    Hardware,
    KeyDescription,
    KeyList,
    KeySummary,
    PeerInfo,
    PluginInfo,
    SessionBound,
    SessionState,
    VersionWindow,
)
from signerd.wire.signed import (
    BatchError,
    BatchOutcome,
    BatchResult,
    Bin,
    Decision,
    DecisionKey,
    EntitlementSummary,
    Receipt,
    ReleaseDecision,
    Remaining,
    SigningIdentity,
    SignResult,
    UserPresence,
    VerifyCommand,
)
from signerd.wire.verified import BundleVerified, VerificationCheck, VerifiedBatch, VerifyOutcome

__all__ = [
    "ADMIN_RELAYED",
    "METHODS",
    "SERVED",
    "AuditFilters",
    "AuditQuery",
    "AuditRecord",
    "AuditRecords",
    "BackendState",
    "BatchError",
    "BatchOutcome",
    "BatchResult",
    "Bin",
    "BundleVerified",
    "Check",
    "DaemonHealth",
    "DaemonInfo",
    "Decision",
    "DecisionKey",
    "Descriptor",
    "EntitlementStatus",
    "EntitlementSummary",
    "EntryOf",
    "Hardware",
    "HmacCompute",
    "HmacVerify",
    "Identity",
    "KeyDescription",
    "KeyList",
    "KeySummary",
    "KeysDescribe",
    "LaterBundle",
    "LaterEntries",
    "MacComputed",
    "MacVerified",
    "MethodSpec",
    "NoParams",
    "Options",
    "PeerInfo",
    "PluginInfo",
    "Poe",
    "PolicyMetadata",
    "Receipt",
    "ReleaseDecision",
    "Remaining",
    "SessionBind",
    "SessionBound",
    "SessionState",
    "SignBatch",
    "SignDsse",
    "SignPayload",
    "SignResult",
    "SigningIdentity",
    "SocketName",
    "Subject",
    "UserPresence",
    "VerificationCheck",
    "VerifiedBatch",
    "VerifyBatch",
    "VerifyBundle",
    "VerifyCommand",
    "VerifyOutcome",
    "VersionWindow",
    "decode_bundles",
    "decode_items",
    "decode_params",
    "decode_result",
]


SocketName = Literal["sign", "admin"]
"""Which of the daemon's sockets a session came in by."""


class MethodSpec(NamedTuple):
    """What a method takes and gives, the scope that it asks for, whether it needs a principal at all, and the sockets
    that serve it."""

    params: type[msgspec.Struct]
    result: type[msgspec.Struct]
    scope: str | None
    principal_needed: bool
    sockets: frozenset[SocketName] = frozenset({"sign"})


_BOTH: Final[frozenset[SocketName]] = frozenset({"sign", "admin"})


def _admin(params: type[msgspec.Struct], result: type[msgspec.Struct]) -> MethodSpec:
    """Return a method of the admin socket: who is let in there may use all of them."""
    return MethodSpec(params, result, None, True, frozenset({"admin"}))


METHODS: Final[Mapping[str, MethodSpec]] = MappingProxyType(
    {
        "session.bind": MethodSpec(SessionBind, SessionBound, None, False, _BOTH),
        "session.status": MethodSpec(NoParams, SessionState, None, True, _BOTH),
        "sign.dsse": MethodSpec(SignDsse, SignResult, "signer.sign", True),
        "sign.payload": MethodSpec(SignPayload, SignResult, "signer.sign", True),
        "sign.batch": MethodSpec(SignBatch, BatchResult, "signer.sign", True),
        "hmac.compute": MethodSpec(HmacCompute, MacComputed, "signer.hmac", True),
        "hmac.verify": MethodSpec(HmacVerify, MacVerified, "signer.hmac", True),
        "entitlement.status": MethodSpec(NoParams, EntitlementStatus, "signer.sign", True),
        "quota.status": MethodSpec(NoParams, EntitlementStatus, "signer.sign", True),
        "keys.list": MethodSpec(NoParams, KeyList, "signer.keys", True),
        "keys.describe": MethodSpec(KeysDescribe, KeyDescription, "signer.keys", True),
        "verify.bundle": MethodSpec(VerifyBundle, BundleVerified, "attestor.verify", True),
        "verify.batch": MethodSpec(VerifyBatch, VerifiedBatch, "attestor.verify", True),
        "transparency.entry": MethodSpec(EntryOf, LaterEntries, "attestor.write", True),
        "audit.query": MethodSpec(AuditQuery, AuditRecords, "signer.audit", True, _BOTH),
        "daemon.info": MethodSpec(NoParams, DaemonInfo, None, True, _BOTH),
        "daemon.health": MethodSpec(NoParams, DaemonHealth, None, False, _BOTH),
        "keys.versions": _admin(admin.KeysVersions, admin.KeyVersions),
        "keys.generate": _admin(admin.KeyGenerate, admin.KeyVersions),
        "keys.rotate": _admin(admin.KeyRotate, admin.KeyVersions),
        "keys.suspend": _admin(admin.VersionChange, admin.KeyVersions),
        "keys.resume": _admin(admin.VersionChange, admin.KeyVersions),
        "keys.revoke": _admin(admin.KeyRevoke, admin.KeyVersions),
        "keys.retire": _admin(admin.VersionChange, admin.KeyVersions),
        "keys.history": _admin(admin.KeyHistory, admin.KeyChanges),
        "keys.publish": _admin(NoParams, admin.Published),
        "approval.list": _admin(NoParams, admin.Approvals),
        "approval.describe": _admin(admin.ApprovalOf, admin.Approval),
        "approval.submit": _admin(admin.ApprovalSubmit, admin.Approval),
        "approval.withdraw": _admin(admin.ApprovalOf, admin.Approval),
        "admin.confirm": _admin(admin.AdminConfirm, admin.Done),
        "admin.reload": _admin(admin.AdminReload, admin.Done),
        "admin.bypass": _admin(admin.AdminBypass, admin.Granted),
        "admin.approve_release": _admin(admin.ApproveRelease, admin.Granted),
    }
)
"""Every method that is served; any other one is ``request.unsupported``."""

ADMIN_RELAYED: Final = frozenset(name for name, spec in METHODS.items() if spec.sockets == {"admin"})
"""The methods of the admin socket alone: the front end relays them unread, the sealer decides."""
SERVED: Final[Mapping[SocketName, tuple[str, ...]]] = MappingProxyType(
    {name: tuple(sorted(m for m, spec in METHODS.items() if name in spec.sockets)) for name in get_args(SocketName)}
)
"""By socket, the methods that its hello lists."""

_PARAMS: Final = {name: msgspec.msgpack.Decoder(spec.params) for name, spec in METHODS.items()}
_RESULTS: Final = {name: msgspec.msgpack.Decoder(spec.result) for name, spec in METHODS.items()}


def decode_params(method: str, raw: Raw) -> msgspec.Struct:
    """Decode the params of ``method`` into its params type.

    Raises :class:`~signerd.errors.Refusal`: ``request.unsupported`` for a method, key or value that is not
    known, ``request.too_large`` for an array above every limit, ``request.malformed`` for anything else.
    """
    decoder = _PARAMS.get(method)
    if decoder is None:
        raise Refusal(
            "request.unsupported",
            "unknown_method",
            "this method is not served",
            details={"name": method[:64]},
        )
    params = decode_strict(decoder, raw)
    if isinstance(params, SignDsse | SignPayload):
        _check_sign(params)
    elif isinstance(params, VerifyBundle):
        _check_verify(params)
    elif isinstance(params, SignBatch) and params.options is not UNSET:
        _check_options(params.options)
    return params


def decode_items(batch: SignBatch) -> Sequence[SignDsse | Refusal]:
    """Decode the items of a batch, each alone: one out of shape is its own refusal, the others stand."""
    return [_decode_item(item) for item in batch.items]


def _decode_item(item: Raw) -> SignDsse | Refusal:
    try:
        return cast(SignDsse, decode_params("sign.dsse", item))
    except Refusal as refusal:
        return refusal


def decode_bundles(batch: VerifyBatch) -> Sequence[VerifyBundle | Refusal]:
    """Decode the items of a batch to verify, each alone."""
    return [_decode_bundle(item) for item in batch.items]


def _decode_bundle(item: Raw) -> VerifyBundle | Refusal:
    try:
        return cast(VerifyBundle, decode_params("verify.bundle", item))
    except Refusal as refusal:
        return refusal


def decode_result(method: str, raw: Raw) -> msgspec.Struct:
    """Decode a result of ``method``, unknown keys ignored; Refusal ``request.malformed`` where it cannot."""
    return decode_strict(_RESULTS[method], raw, unique_keys=False)


def _check_sign(params: SignDsse | SignPayload) -> None:
    for index, subject in enumerate(() if params.subject is UNSET else params.subject):
        by_digest = subject.digest is not UNSET
        by_descriptor = subject.fd is not UNSET and subject.size is not UNSET
        partly = subject.fd is not UNSET or subject.size is not UNSET
        if by_digest and partly:
            raise malformed("digest_and_fd", f"subject[{index}]")
        if not by_digest and not by_descriptor:
            raise malformed(
                "missing_field", f"subject[{index}].{'size' if subject.fd is not UNSET else 'digest'}"
            )
    if params.options is not UNSET:
        _check_options(params.options)


def _check_options(options: Options) -> None:
    if options.keys is not UNSET and len(set(options.keys)) != len(options.keys):
        raise malformed("repeated_value", "options.keys")
    if options.include is not UNSET and len(set(options.include)) != len(options.include):
        raise malformed("repeated_value", "options.include")


def _check_verify(params: VerifyBundle) -> None:
    if params.policy is not UNSET:
        for name in ("identity", "predicate_type"):
            if getattr(params, name) is not UNSET:
                raise malformed("policy_alone", name)
    elif params.key is UNSET and params.identity is UNSET:
        # Nothing that stands in a bundle is a trust anchor: whoever signed it chose it.
        raise malformed("missing_field", "key")
    elif params.key is not UNSET and params.identity is not UNSET:
        raise malformed("key_and_identity", "identity")
