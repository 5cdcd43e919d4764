"""From configuration and loaded plugins to the services that the pipeline works with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from msgspec import UNSET

from signerd.contracts.providers import Authenticator, PredicateType, ReleaseCheck
from signerd.contracts.services import Clock, QuotaStore
from signerd.daemon.audit_ids import AuditIds
from signerd.daemon.deadlines import DeadlineHeap
from signerd.daemon.descriptors import check_claims
from signerd.daemon.snapshot import Snapshot
from signerd.host.config_limits import Limits as Configured
from signerd.host.config_model import Config, Key
from signerd.host.config_model import Tenant as ConfiguredTenant
from signerd.host.guard import Guard
from signerd.host.load import Loaded, PluginEntry
from signerd.pipeline.catalogue import Catalogue
from signerd.pipeline.charging import Charging
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.quota import DAY_MS, MemoryQuotaStore
from signerd.pipeline.services import Bounds, Ledger, Services
from signerd.pipeline.tenants import KeylessRule, KeyRule, Tenant
from signerd.wire import methods
from signerd.wire.connection import FRAME_LIMIT_BOUND
from signerd.wire.messages import Limits
from signerd.wire.worker_calls import PAYLOAD_INLINE

__all__ = ["limits_of", "plugin_entries", "plugin_infos", "quotas_of", "services_of"]

AUDIENCE = "signerd"


def plugin_entries(config: Config) -> dict[str, PluginEntry]:
    """Return what is to be loaded, in the configured order."""
    certifiers = config.conformance.certifiers
    return {p.name: PluginEntry(p.settings, p.version, p.record, p.certificate, certifiers) for p in config.plugins}


def plugin_infos(loaded: Loaded) -> tuple[methods.PluginInfo, ...]:
    """Return the loaded plugins as ``daemon.info`` lists them."""
    return tuple(
        methods.PluginInfo(
            p.distribution, p.version, p.record_sha256, UNSET if p.certificate is None else str(p.certificate)
        )
        for p in loaded.plugins
    )


def limits_of(configured: Configured, descriptors: int) -> Limits:
    """Return the limits that a connection is told."""
    return Limits(
        frame_bytes=FRAME_LIMIT_BOUND,
        inline_bytes=configured.inline_bytes,
        payload_bytes=configured.payload_bytes,
        in_flight=configured.in_flight,
        batch_items=configured.batch_items,
        subjects=configured.subjects,
        digests=configured.digests,
        descriptors=descriptors,
        deadline_ms=int(configured.longest_deadline_s * 1000),
    )


def quotas_of(loaded: Loaded, clock: Clock, aside: Callable[[Awaitable[object]], None]) -> Charging:
    """Return the quota store under its guard: the plugin's, else one in this process. ``aside`` runs what nobody waits
    for."""
    store = loaded.quota_store
    if store is None:
        made: QuotaStore = MemoryQuotaStore(clock)
        return Charging(Guarded(made, Guard("quota", "memory")), aside)
    return Charging(Guarded(store.provider, Guard("quota", store.name)), aside)


def services_of(
    config: Config,
    loaded: Loaded,
    snapshot: Snapshot,
    ledger: Ledger,
    deadlines: DeadlineHeap,
    clock: Clock,
    quotas: Charging,
) -> Services:
    """Return the pipeline's services: every provider under its guard. ``quotas`` outlives a reload."""
    limits = config.limits
    authenticators: Sequence[Guarded[Authenticator]] = [
        Guarded(p.provider, Guard("authenticator", p.name)) for p in loaded.authenticators
    ]
    checks: Sequence[Guarded[ReleaseCheck]] = [
        Guarded(p.provider, Guard("release", p.name)) for p in loaded.release_checks
    ]
    predicates: Sequence[Guarded[PredicateType]] = [
        Guarded(p.provider, Guard("predicate", p.name)) for p in loaded.predicates.values()
    ]
    return Services(
        audience=AUDIENCE,
        authenticators=tuple(authenticators),
        entitlements=Guarded(loaded.entitlement.provider, Guard("entitlement", loaded.entitlement.name)),
        release_checks=tuple(checks),
        catalogue=Catalogue(predicates),
        tenants=_tenants(config),
        ring=snapshot,
        exceptions=snapshot,
        quotas=quotas,
        ledger=ledger,
        deadlines=deadlines,
        clock=clock,
        bounds=Bounds(
            inline_bytes=limits.inline_bytes,
            payload_bytes=limits.payload_bytes,
            subjects=limits.subjects,
            digests=limits.digests,
            front_document_bytes=PAYLOAD_INLINE,
        ),
        published=frozenset([p.kind for p in config.publishers if p.needed]),
        new_id=AuditIds(),
        check_claims=partial(check_claims, payload_bytes=limits.payload_bytes),
    )


def _tenants(config: Config) -> Mapping[str, Tenant]:
    return {
        tenant.name: Tenant(
            tenant.name,
            tenant.default_key,
            tenant.profile,
            None if tenant.predicates is None else frozenset(tenant.predicates),
            frozenset(tenant.exempt_predicates),
            tenant.require_attested,
            tenant.require_hardware,
            tenant.default_keys,
            _rules(config, tenant),
            tenant.transparency,
            tenant.timestamp,
            frozenset(key.backend for key in config.keys if key.tenant == tenant.name),
        )
        for tenant in config.tenants
    }


def _rules(config: Config, tenant: ConfiguredTenant) -> Mapping[str, KeyRule]:
    """Return the rules of the tenant's keys, in the order in which the tenant names them."""
    keys = {key.key: key for key in config.keys}
    return {
        name: KeyRule(
            None if (key := keys[name]).plans is None else frozenset(key.plans or ()),
            key.fallback,
            key.warn_days * DAY_MS,
            _keyless(key),
            key.presence,
            bool(key.rp_id),
            frozenset(key.purposes or ()),
        )
        for name in tenant.keys
    }


def _keyless(key: Key) -> KeylessRule | None:
    given = key.keyless
    if given is None:
        return None
    return KeylessRule(frozenset(given.issuers), given.audience, given.ephemeral_ok, given.ct_log_keys is not None)
