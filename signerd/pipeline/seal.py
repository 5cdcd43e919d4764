"""The hand-over to the sealer, and the answer that the caller gets."""

import shlex
from dataclasses import replace
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from signerd.attestation.algorithms import SIGNATURE_DIGEST
from signerd.contracts.services import Remaining
from signerd.errors import Fault, Refusal
from signerd.pipeline.evidence import BuiltStatement, Cleared, Order, Signed
from signerd.pipeline.keyless import EPHEMERAL, identity_for, is_ephemeral, rule_of, untimed_warnings
from signerd.pipeline.record import Entry
from signerd.pipeline.services import Services
from signerd.pipeline.signers import COMPANION, bundled_keys, check_published, choose_key, wants
from signerd.pipeline.tenants import KeylessRule, Tenant
from signerd.pipeline.waits import sealed
from signerd.wire import methods
from signerd.wire.keyless import Keyless
from signerd.wire.links import DecisionFacts, KeyUse, ReleaseFacts, Sealed, SealItem
from signerd.wire.params import Descriptor
from signerd.wire.ring import RingEntry

__all__ = ["cose_command", "decision_of", "keyless_command", "remaining_of", "seal", "shown_decision", "verify_command"]

_UNBUNDLED: Final = (
    "not for cosign: no key of ES256 has signed, so there is no bundle, and only verifiers of DSSE envelopes that know "
    "the algorithm verify this"
)


async def seal(built: BuiltStatement, entry: Entry, services: Services) -> Signed:
    """Have what was built signed on the record: the one wait of a story with warm caches.

    Where a key's backend cannot be reached, and for no other reason, its fallback signs instead: once, on a record
    of its own that says so.

    What comes back was verified against the pinned keys, and its ``decided`` leaf is durable. The record is
    closed when the answer is handed to the kernel, not here.
    """
    try:
        return await _sealed(built, entry, services)
    except Fault as fault:
        second = _fallback(built, services) if fault.code == "key.backend_unavailable" else None
        if second is None:
            raise
    # The first record is closed, or will be, as the fault that it was; this decision has one of its own.
    request = second.admission.cleared.entitled.order.request
    request.second_id, request.settled = services.new_id(), False
    return await _sealed(second, entry, services)


async def _sealed(built: BuiltStatement, entry: Entry, services: Services) -> Signed:
    order = built.admission.cleared.entitled.order
    decision = decision_of(built)
    expires_at = order.principal.expires_at
    request = order.request
    item = SealItem(
        request.record_id,
        entry.hand_over(),
        decision,
        order.payload_type,
        built.payload,
        max(1, int((request.deadline - services.clock.monotonic()) * 1000)),
        envelope=wants(order, "envelope"),
        principal_expires_at=expires_at or 0,
        identity=built.admission.identity,
        rekor_request=wants(order, "rekor_request"),
        profile=order.output.name,
        approval_id=order.params.approval_id or "",
    )
    answer, fds = await sealed(item, built.payload_fd)
    return Signed(request.record_id, _result(built, decision, answer, services.clock.now_ms()), fds)


def _fallback(built: BuiltStatement, services: Services) -> BuiltStatement | None:
    """Return the same with the fallback of each key that has one, degraded; None where no key has one that may sign.

    Which of several keys could not be reached is not told: none of their signatures was released. An approval that the
    request brought is used up, and was for the keys that it names.
    """
    admission = built.admission
    cleared = admission.cleared
    order, plan = cleared.entitled.order, cleared.entitled.entitlement.plan
    if order.params.approval_id is not UNSET:
        return None
    names = [rule.fallback if (rule := order.tenant.rules.get(key.key)) else None for key in admission.keys]
    if not any(names):
        return None
    try:
        keys = [
            key if name is None else _in_place_of(key, choose_key(name, plan, order, services))
            for key, name in zip(admission.keys, names, strict=True)
        ]
        check_published(order, keys)
        identity = identity_for(order, keys, services, token_needed=False)
    except Refusal:
        return None
    if len({key.key for key in keys}) < len(keys):
        return None
    degraded = replace(cleared, degraded=(*cleared.degraded, "key_fallback"))
    return replace(built, admission=replace(admission, cleared=degraded, keys=tuple(keys), identity=identity))


def _in_place_of(key: RingEntry, fallback: RingEntry) -> RingEntry:
    """Return the fallback; that nobody asked for a companion stays true of what signs in its place."""
    return msgspec.structs.replace(fallback, source=COMPANION) if key.source == COMPANION else fallback


def decision_of(built: BuiltStatement) -> DecisionFacts:
    """Return the decision: receipt and ``decided`` leaf hold this same object."""
    admission = built.admission
    cleared = admission.cleared
    entitlement = cleared.entitled.entitlement
    order = cleared.entitled.order
    principal = order.principal
    degraded = entitlement.degraded + cleared.degraded
    if any([key.keyless for key in admission.keys]) and is_ephemeral(order):
        degraded += (EPHEMERAL,)
    keys = tuple([KeyUse(key.key, key.source, key.keyid, key.version) for key in admission.keys])
    return DecisionFacts(
        principal.name,
        principal.tenant,
        entitlement.plan,
        _release_facts(cleared),
        keys,
        degraded,
        UNSET if order.transparency == "none" else order.transparency,
        order.timestamp or UNSET,
    )


def _release_facts(cleared: Cleared) -> ReleaseFacts:
    release = cleared.release
    if release is None:
        return ReleaseFacts(cleared.binding, "none", "exempt")
    return ReleaseFacts(cleared.binding, release.how, "trusted", release.version or "")


def _result(built: BuiltStatement, decision: DecisionFacts, answer: Sealed, now: int) -> methods.SignResult:
    admission = built.admission
    order = admission.cleared.entitled.order
    keys = admission.keys
    # Bundles, and all that is about them, are those of these signers; identities are those of all.
    pairs = [(keys[place], answer.signatures[place]) for place in bundled_keys(order, keys)]
    cose = [s.bundle for s in answer.signatures] if order.output.form == "messages" else []
    return methods.SignResult(
        bundles=tuple([_bin(s.bundle) for _, s in pairs]),
        statement_sha256=answer.statement_sha256,
        predicate_sha256=built.predicate_sha256,
        bundle_sha256=tuple([s.bundle_sha256 for _, s in pairs]),
        envelope_sha256=pairs[0][1].envelope_sha256 if pairs else answer.envelope_sha256,
        signing_identity=tuple(
            [
                _identity(key) if signed.keyless is None else _certified(order, key, signed.keyid, signed.keyless)
                for key, signed in zip(keys, answer.signatures, strict=True)
            ]
        ),
        cosign_verifiable=bool(pairs),
        warnings=(
            *[w for key, _ in pairs for w in _warnings(key.algorithm)],
            *(() if pairs or cose or order.bare else (_UNBUNDLED,)),
            *[w for key in keys for w in _ageing(key, order.tenant, now)],
            *untimed_warnings(order, keys),
        ),
        verify_command=(
            *[_command(order, key, signed.keyless) for key, signed in pairs],
            *[cose_command(order.predicate_type.uri, order.subjects[0].name) for _ in cose],
        ),
        entitlement=methods.EntitlementSummary(decision.plan, remaining_of(admission.remaining)),
        receipt=methods.Receipt(
            order.request.record_id,
            answer.index,
            answer.leaf_hash,
            shown_decision(decision),
            answer.decision_digest,
        ),
        envelope=UNSET if answer.envelope is None else _bin(answer.envelope),
        certificate_chain=_chain(order, answer),
        rekor_request=tuple([s.rekor_request for _, s in pairs]) if wants(order, "rekor_request") else UNSET,
        cose=tuple([_bin(message) for message in cose]) if cose else UNSET,
        presence=answer.presence or UNSET,
    )


def shown_decision(decision: DecisionFacts) -> methods.Decision:
    """Return the decision as receipts show it: key by key what the leaf holds, or its digest proves nothing.

    What is empty is absent from the leaf, and so here.
    """
    release = decision.release
    return methods.Decision(
        decision.principal,
        decision.tenant,
        decision.plan,
        methods.ReleaseDecision(release.verdict, release.how, release.binding, release.version or UNSET),
        tuple(
            [
                methods.DecisionKey(key.key, key.source, key.keyid or UNSET, key.version or UNSET)
                for key in decision.keys
            ]
        ),
        decision.degraded,
        decision.transparency,
        decision.timestamp,
    )


def _bin(value: bytes | Descriptor) -> bytes | methods.Descriptor:
    return methods.Descriptor(value.fd, value.size) if isinstance(value, Descriptor) else value


def remaining_of(left: Remaining) -> methods.Remaining:
    """Return what is left of a plan as results show it: no key where the plan has no such limit."""
    return methods.Remaining(
        UNSET if left.rate is None else left.rate,
        UNSET if left.daily is None else left.daily,
        left.concurrency,
    )


@lru_cache(maxsize=1024)
def _identity(key: RingEntry) -> methods.SigningIdentity:
    return methods.SigningIdentity("keyful", key.keyid, key.spki, key.algorithm, key.version)


def _certified(order: Order, key: RingEntry, keyid: str, by: Keyless) -> methods.SigningIdentity:
    return methods.SigningIdentity(
        "keyless",
        keyid,
        by.spki,
        key.algorithm,
        key.version,
        issuer=by.issuer,
        subject=by.subject,
        not_before=by.not_before,
        not_after=by.not_after,
        chain=by.chain if wants(order, "chain") else UNSET,
    )


def _command(order: Order, key: RingEntry, by: Keyless | None) -> methods.VerifyCommand:
    kind, name = order.predicate_type.uri, order.subjects[0].name
    logged, stamped = order.transparency == "required", order.timestamp
    if by is None:
        return verify_command(key.algorithm, kind, name, logged, stamped)
    return keyless_command(by, rule_of(order, key), kind, name, logged, stamped)


def _chain(order: Order, answer: Sealed) -> tuple[bytes | methods.Descriptor, ...] | UnsetType:
    """Return the chain of the first certificate that signed, where it is asked for and there is one."""
    if not wants(order, "chain"):
        return UNSET
    return next((signed.keyless.chain for signed in answer.signatures if signed.keyless is not None), UNSET)


@lru_cache(maxsize=16)
def _warnings(algorithm: str) -> tuple[str, ...]:
    digest = SIGNATURE_DIGEST.get(algorithm)
    if digest is None:
        return ()
    return (f"cosign verifies a key of this type only with --signature-digest-algorithm {digest}",)


def _ageing(key: RingEntry, tenant: Tenant, now: int) -> tuple[str, ...]:
    rule = tenant.rules.get(key.key)
    if rule is None or not key.expires_at or key.expires_at - now > rule.warn_ms:
        return ()
    return (f"key_expires_soon: {key.key} signs until {key.expires_at} (Unix milliseconds)",)


@lru_cache(maxsize=1024)
def verify_command(
    algorithm: str, predicate_type: str, artifact: str, logged: bool = False, stamped: bool = False
) -> methods.VerifyCommand:
    """Return cosign's command line (3.0.4 and later, offline).

    ``--type`` is always there: cosign's default is ``custom``. What was ``logged`` or ``stamped`` is verified by the
    trusted root of its log and authority.
    """
    digest = SIGNATURE_DIGEST.get(algorithm)
    argv = (
        "cosign",
        "verify-blob-attestation",
        "--key",
        "key.pub",
        "--bundle",
        "bundle.sigstore.json",
        *(() if logged else ("--insecure-ignore-tlog",)),
        *(("--use-signed-timestamps",) if stamped else ()),
        *(("--trusted-root", "trusted_root.json") if logged or stamped else ()),
        *(("--signature-digest-algorithm", digest) if digest else ()),
        "--type",
        predicate_type,
        # A name that begins with a dash would be read as an option.
        *(("--", artifact) if artifact.startswith("-") else (artifact,)),
    )
    return methods.VerifyCommand(argv, shlex.join(argv))


@lru_cache(maxsize=1024)
def cose_command(predicate_type: str, artifact: str) -> methods.VerifyCommand:
    """Return signerd's own command line: cosign reads no COSE."""
    argv = (
        *("signerctl", "verify", "--key", "key.pub", "--type", predicate_type),
        # A name that begins with a dash would be read as an option.
        f"--subject={artifact}",
        "statement.cose",
    )
    return methods.VerifyCommand(argv, shlex.join(argv))


@lru_cache(maxsize=1024)
def keyless_command(
    by: Keyless,
    rule: KeylessRule | None,
    predicate_type: str,
    artifact: str,
    logged: bool = False,
    stamped: bool = False,
) -> methods.VerifyCommand:
    """Return cosign's command line (3.0.4 and later) for a signature by a certificate; without a stamp it holds as long
    as the certificate does."""
    argv = (
        "cosign",
        "verify-blob-attestation",
        "--bundle",
        "bundle.sigstore.json",
        "--trusted-root",
        "trusted_root.json",
        "--certificate-identity",
        by.subject,
        "--certificate-oidc-issuer",
        by.issuer,
        *(() if logged else ("--insecure-ignore-tlog",)),
        *(("--use-signed-timestamps",) if stamped else ()),
        *(() if rule is not None and rule.sct else ("--insecure-ignore-sct",)),
        "--type",
        predicate_type,
        *(("--", artifact) if artifact.startswith("-") else (artifact,)),
    )
    return methods.VerifyCommand(argv, shlex.join(argv))
