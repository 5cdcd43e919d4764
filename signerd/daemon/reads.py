"""The methods that sign nothing: session, keys, plan, daemon. Each answers from memory."""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from msgspec import UNSET

from signerd import __version__
from signerd.attestation.algorithms import COSE_ALGORITHMS, COSIGN_ALGORITHMS
from signerd.attestation.output import OUTPUT_PROFILES
from signerd.contracts.services import Charge, Clock
from signerd.contracts.validity import UNLOGGED, check_validity, status_at
from signerd.contracts.values import Entitlement, Principal, ProofOfEntitlement
from signerd.daemon.sealer_link import SealerLink
from signerd.daemon.session import Session
from signerd.daemon.snapshot import Snapshot
from signerd.daemon.verifying import Verifying
from signerd.errors import Fault, Refusal
from signerd.pipeline.entitle import bypassed
from signerd.pipeline.quota import DAY_MS
from signerd.pipeline.seal import keyless_command, remaining_of, verify_command
from signerd.pipeline.services import Services
from signerd.pipeline.signers import no_such_key
from signerd.pipeline.tenants import KeyRule
from signerd.verification.keys import PublicKey
from signerd.wire import methods
from signerd.wire.keyless import Keyless
from signerd.wire.messages import Limits
from signerd.wire.ring import RingEntry

__all__ = ["Reads"]

NEVER = 2**53 - 1
"""``expires_at`` of a binding by peer credentials: it ends with the connection."""

NOT_VALIDATED = "a compliance profile restricts algorithms; it does not make the module that computes them validated"

_NO_RULE = KeyRule()

Read = Callable[[Session, msgspec.Struct], msgspec.Struct]


@dataclass(slots=True)
class Reads:
    """Handlers by method; each takes decoded params and returns the result or refuses."""

    services: Services
    snapshot: Snapshot
    sealer: SealerLink
    limits: Limits
    clock: Clock
    plugins: Sequence[methods.PluginInfo]
    development: bool
    started: float
    verifying: Verifying
    """what is not answered from memory but by a worker; the front end hands it its requests itself"""
    handlers: Mapping[str, Read] = field(init=False)

    def __post_init__(self) -> None:
        self.handlers = {
            "session.bind": self._bind,
            "session.status": self._status,
            "entitlement.status": self._entitlement,
            "quota.status": self._entitlement,
            "keys.list": self._keys,
            "keys.describe": self._describe,
            "daemon.info": self._info,
            "daemon.health": self._health,
        }

    def _bind(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        bind = cast("methods.SessionBind", params)
        for name in ("token", "proof", "intermediates"):
            if getattr(bind, name) is not UNSET:
                raise Refusal(
                    "request.unsupported",
                    "not_served",
                    f"this daemon does not take a {name}",
                    details={"name": name},
                )
        principal = _bound(session)
        if bind.tenant is not UNSET and bind.tenant != principal.tenant:
            raise Refusal("auth.tenant_mismatch", "other_tenant", "the session is bound to another tenant")
        state = self._state(session, principal)
        return methods.SessionBound(**{n: getattr(state, n) for n in state.__struct_fields__}, nonce=os.urandom(16))

    def _status(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        return self._state(session, _bound(session))

    def _state(self, session: Session, principal: Principal) -> methods.SessionState:
        peer = session.peer
        return methods.SessionState(
            principal.name,
            principal.tenant,
            tuple(sorted(principal.scopes)),
            NEVER if principal.expires_at is None else principal.expires_at,
            self._backends(session),
            self.limits,
            methods.PeerInfo(peer.uid, peer.gid, peer.pid, UNSET if peer.unit is None else peer.unit),
            UNSET if principal.installation is None else principal.installation,
        )

    def _backends(self, session: Session) -> tuple[methods.BackendState, ...]:
        """Return the backends of the session's tenant; another's names would tell of its hardware and its plans (T14).

        The admin socket belongs to no tenant: all of them.
        """
        if session.via == "admin":
            return self._states(self.snapshot.backends)
        tenant = self.services.tenants.get(_bound(session).tenant)
        return () if tenant is None else self._states(tenant.backends & self.snapshot.backends.keys())

    def _states(self, names: Iterable[str]) -> tuple[methods.BackendState, ...]:
        up, states = self.sealer.open, self.snapshot.backends
        return tuple(methods.BackendState(name, up and states[name].up) for name in sorted(names))

    def _entitlement(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        principal = _bound(session)
        source = self.services.entitlements
        found: object = bypassed(principal.tenant, self.services)
        if found is None:
            found = source.guard(source.provider.entitle, Entitlement, principal, ProofOfEntitlement())
        if not isinstance(found, Entitlement):
            if inspect.iscoroutine(found):
                found.close()
            raise Fault("entitlement.unavailable", "not_cached", "the plan is not known yet; sign once, or try again")
        limits = found.limits
        charge = Charge(principal.tenant, found.plan, limits.rate, limits.burst, limits.daily, limits.concurrency)
        left = self.services.quotas.peek(charge)
        window = found.window
        now = self.clock.now_ms()
        return methods.EntitlementStatus(
            found.plan,
            methods.Remaining() if left is None else remaining_of(left),
            UNSET if window is None else methods.VersionWindow(*window),
            UNSET if limits.daily is None else (now // DAY_MS + 1) * DAY_MS,
        )

    def _keys(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        tenant = _bound(session).tenant
        now = self.clock.now_ms()
        return methods.KeyList(
            tuple(
                methods.KeySummary(
                    entry.key,
                    entry.keyid,
                    entry.algorithm,
                    status_at(entry, now),
                    entry.version,
                    entry.expires_at or UNSET,
                )
                for entry in self.snapshot.of_tenant(tenant)
                if entry.status != UNLOGGED
            )
        )

    def _describe(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        asked = cast("methods.KeysDescribe", params).key
        tenant = _bound(session).tenant
        now = self.clock.now_ms()
        entry = self.snapshot.find(tenant, asked)
        if entry is None:
            entry = next((e for e in self.snapshot.of_tenant(tenant) if asked == e.keyid), None)
        if entry is None:
            known = self.services.tenants.get(tenant)
            raise (known and asked in known.rules and self.snapshot.why_absent(asked)) or no_such_key()
        if entry.status == UNLOGGED:
            check_validity(entry, now)  # its fault: neither keyid nor public key are known to be ours
        rule = self.services.tenants[tenant].rules.get(entry.key, _NO_RULE)
        pem = "" if entry.keyless or entry.makes_macs else PublicKey.from_spki(entry.spki).pem
        return methods.KeyDescription(
            key=entry.key,
            keyid=entry.keyid,
            algorithm=entry.algorithm,
            spki=entry.spki,
            public_key_pem=pem,
            chain=(),
            status=status_at(entry, now),
            added_at=entry.added_at,
            profile=self.services.tenants[tenant].profile,
            uses=("approval",) if rule.approves else _uses(entry),
            hardware=methods.Hardware(attested=entry.hardware),
            verify_command=(self._verify_command(tenant, entry),) if entry.algorithm in COSIGN_ALGORITHMS else (),
            version=entry.version,
            expires_at=entry.expires_at or UNSET,
            revoked_at=entry.revoked_at or UNSET,
            retire_at=entry.retire_at or UNSET,
            cause=entry.cause or UNSET,
            invalid_since=entry.invalid_since or UNSET,
            presence=rule.presence or UNSET,
        )

    def _verify_command(self, tenant: str, entry: RingEntry) -> methods.VerifyCommand:
        if not entry.keyless:
            return verify_command(entry.algorithm, "TYPE", "ARTIFACT")
        rule = self.services.tenants[tenant].rules.get(entry.key)
        by = Keyless((), b"", "ISSUER", "IDENTITY", 0, 0)
        return keyless_command(by, None if rule is None else rule.keyless, "TYPE", "ARTIFACT")

    def _info(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        return methods.DaemonInfo(
            __version__,
            int(self.clock.monotonic() - self.started),
            tuple(self.plugins),
            self._backends(session),
            tuple(OUTPUT_PROFILES),
            self.limits,
            "off",
            self.snapshot.separation,
            self.development,
            (NOT_VALIDATED,),
        )

    def _health(self, session: Session, params: msgspec.Struct) -> msgspec.Struct:
        audit = self.sealer.open
        up = [state.up for state in self._states(self.snapshot.backends)]
        checks = (methods.Check("audit", audit), methods.Check("backends", bool(up) and all(up)))
        return methods.DaemonHealth(audit and any(up), checks)


def _uses(entry: RingEntry) -> tuple[str, ...]:
    if entry.makes_macs:
        return ("hmac",)
    return ("dsse", "cose") if entry.algorithm in COSE_ALGORITHMS and not entry.keyless else ("dsse",)


def _bound(session: Session) -> Principal:
    if session.principal is None:
        raise Refusal("auth.required", "not_bound", "this connection is not bound to a principal")
    return session.principal
