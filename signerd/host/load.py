"""Loads what the configuration names, and nothing else.

In order: the one entry point of that name, its distribution verified (:mod:`signerd.host.distribution`), the
pins of the configuration compared, the conformance certificate held against it where the configuration names one
(:mod:`signerd.host.certificate`), the module imported, hook names and arguments validated by pluggy, each
hook called once with the plugin's own settings, the types of what it returned, and how many there may be
(:mod:`signerd.host.arity`). Any breach is a :class:`~signerd.host.distribution.LoadError`, and the process
does not start.
"""

import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar, cast

import pluggy

from signerd.attestation.dsse import is_media_type
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts import hookspecs
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP, PROJECT, PUBLISHERS_GROUP
from signerd.contracts.providers import (
    Authenticator,
    EntitlementSource,
    KeyBackend,
    PayloadType,
    PredicateType,
    ReleaseCheck,
    TransparencyLog,
)
from signerd.contracts.services import QuotaStore
from signerd.host.arity import breaches
from signerd.host.certificate import NONE, Certificate, check_certificate
from signerd.host.distribution import Distribution, LoadError, VerifiedFinder, find_entry, verify
from signerd.host.guard import told

__all__ = [
    "BackendEntry",
    "LoadError",
    "Loaded",
    "LoadedPlugin",
    "PluginEntry",
    "Provided",
    "load_key_backend",
    "load_policy_plugins",
    "load_predicates",
    "load_publisher",
    "worker_entry",
]

P = TypeVar("P")

_SEVERAL: Final[Mapping[str, type]] = {
    "signerd_authenticators": Authenticator,
    "signerd_release_checks": ReleaseCheck,
    "signerd_predicates": PredicateType,
}
_ONE: Final[Mapping[str, type]] = {
    "signerd_entitlements": EntitlementSource,
    "signerd_quota_stores": QuotaStore,
    "signerd_key_backends": KeyBackend,
    "signerd_transparency_logs": TransparencyLog,
}
_PREDICATES: Final = ("signerd_predicates",)
_KEY_BACKENDS: Final = ("signerd_key_backends",)
_PUBLISHERS: Final = ("signerd_transparency_logs",)
_POLICY: Final = (*_SEVERAL, "signerd_entitlements", "signerd_quota_stores")
_OF_GROUP: Final = {PLUGINS_GROUP: _POLICY, KEY_BACKENDS_GROUP: _KEY_BACKENDS, PUBLISHERS_GROUP: _PUBLISHERS}

_finder: Final = VerifiedFinder()


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """What the configuration says of one plugin: its own table, pins of version and RECORD digest (hex), its
    certificate's path or ``none``, and the files of the certifiers' keys."""

    settings: Mapping[str, object] = field(default_factory=dict)
    version: str | None = None
    record: str | None = None
    certificate: str = NONE
    certifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """What the audit log keeps of a plugin: entry-point name, version, SHA-256 (hex) of its RECORD.

    The digest is empty for an editable installation, which only ``development = true`` lets in.
    """

    name: str
    distribution: str
    version: str
    record_sha256: str
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Provided(Generic[P]):
    """A provider and the plugin that it came from, for the operator's texts."""

    name: str
    provider: P


@dataclass(frozen=True, slots=True)
class Loaded:
    """All policy providers, in the configured order; predicates by their URI."""

    plugins: tuple[LoadedPlugin, ...]
    authenticators: tuple[Provided[Authenticator], ...]
    entitlement: Provided[EntitlementSource]
    release_checks: tuple[Provided[ReleaseCheck], ...]
    predicates: Mapping[str, Provided[PredicateType]]
    quota_store: Provided[QuotaStore] | None


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A key backend or publisher as its metadata has it: nothing of it was imported."""

    name: str
    distribution: str
    version: str
    record_sha256: str
    module: str
    certificate: Certificate | None = None


def load_policy_plugins(entries: Mapping[str, PluginEntry], *, development: bool) -> Loaded:
    """Load the plugins named in ``entries``, in that order, and return their providers.

    Raises LoadError for everything that is not as the contract says.
    """
    plugins, found = _load(PLUGINS_GROUP, entries, _POLICY, development=development)
    entitlements = found["signerd_entitlements"]
    stores = found["signerd_quota_stores"]
    return Loaded(
        plugins,
        cast("tuple[Provided[Authenticator], ...]", tuple(found["signerd_authenticators"])),
        cast("Provided[EntitlementSource]", entitlements[0]),
        cast("tuple[Provided[ReleaseCheck], ...]", tuple(found["signerd_release_checks"])),
        _by_uri(found["signerd_predicates"]),
        cast("Provided[QuotaStore]", stores[0]) if stores else None,
    )


def load_predicates(
    entries: Mapping[str, PluginEntry], *, development: bool
) -> Mapping[str, Provided[PredicateType]]:
    """Load the predicate types of the plugins named in ``entries``, by URI, and call no other hook of theirs.

    For the document worker. Raises as :func:`load_policy_plugins`.
    """
    _, found = _load(PLUGINS_GROUP, entries, _PREDICATES, development=development)
    return _by_uri(found["signerd_predicates"])


def worker_entry(
    group: str, name: str, *, development: bool = False, certificate: str = NONE, certifiers: tuple[str, ...] = ()
) -> BackendEntry:
    """Return what is known of the key backend of that scheme, or of a publisher's plugin, from its metadata alone, its
    files and its certificate verified (T2).

    Raises LoadError as loading it would.
    """
    dist = verify(find_entry(group, name), development=development)
    certified = check_certificate(name, certificate, certifiers, group, dist)
    return BackendEntry(name, dist.name, dist.version, dist.record_sha256, dist.module, certified)


def load_key_backend(scheme: str, entry: PluginEntry, *, development: bool = False) -> KeyBackend:
    """Import the backend of ``scheme`` and return it; in a key worker only (T2).

    Raises LoadError for everything that is not as the contract says.
    """
    _, found = _load(KEY_BACKENDS_GROUP, {scheme: entry}, _KEY_BACKENDS, development=development)
    return cast("KeyBackend", found["signerd_key_backends"][0].provider)


def load_publisher(plugin: str, entry: PluginEntry, kind: str, *, development: bool = False) -> TransparencyLog:
    """Import the log or timestamp authority of ``plugin`` and return it; in a publisher only.

    Raises LoadError for everything that is not as the contract says, another kind than ``kind`` included.
    """
    _, found = _load(PUBLISHERS_GROUP, {plugin: entry}, _PUBLISHERS, development=development)
    provider = cast("TransparencyLog", found["signerd_transparency_logs"][0].provider)
    if provider.kind != kind:
        raise LoadError(plugin, f"the configuration says that it is a {kind}, and it is another kind")
    return provider


def _load(
    group: str, entries: Mapping[str, PluginEntry], hooks: Sequence[str], *, development: bool
) -> tuple[tuple[LoadedPlugin, ...], dict[str, list[Provided[object]]]]:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    found: dict[str, list[Provided[object]]] = {hook: [] for hook in hooks}
    plugins = []
    for name, entry in entries.items():
        entry_point = find_entry(group, name)
        dist = verify(entry_point, development=development)
        _check_pins(name, entry, dist)
        certified = check_certificate(name, entry.certificate, entry.certifiers, group, dist)
        plugins.append(LoadedPlugin(name, dist.name, dist.version, dist.record_sha256, certified))
        _register(manager, name, entry_point, dist)
        _check_hooks(manager, name, group)
        for hook, providers in _introduce(manager, name, entry.settings, hooks).items():
            found[hook].extend(Provided(name, provider) for provider in providers)
    sentences = breaches({hook: len(providers) for hook, providers in found.items()})
    if sentences:
        raise LoadError(", ".join(entries) or "(none)", "; ".join(sentences))
    return tuple(plugins), found


def _check_pins(name: str, entry: PluginEntry, dist: Distribution) -> None:
    if entry.version is not None and entry.version != dist.version:
        raise LoadError(name, f"the configuration pins version {entry.version}, installed is {dist.version}")
    if entry.record is not None and entry.record != dist.record_sha256:
        raise LoadError(
            name,
            f"the configuration pins RECORD {entry.record}, installed is {dist.record_sha256 or 'editable'}",
        )


def _register(
    manager: pluggy.PluginManager, name: str, entry_point: importlib.metadata.EntryPoint, dist: Distribution
) -> None:
    _finder.install()
    _finder.add(dist)
    try:
        module = entry_point.load()
    except (Exception, SystemExit) as exc:  # the plugin's own import: foreign code
        raise LoadError(name, f"its module {dist.module} cannot be imported ({told(exc)})") from exc
    try:
        manager.register(module, name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as exc:
        raise LoadError(name, f"its hooks are not those of signerd ({told(exc)})") from exc


def _check_hooks(manager: pluggy.PluginManager, name: str, group: str) -> None:
    """Refuse a hook that nobody calls in this group: its author would take it for one that is in force."""
    for caller in manager.get_hookcallers(manager.get_plugin(name)) or ():
        if caller.name not in _OF_GROUP[group]:
            raise LoadError(name, f"it implements {caller.name}, which is not called for an entry point of {group}")


def _introduce(
    manager: pluggy.PluginManager, name: str, settings: Mapping[str, object], hooks: Sequence[str]
) -> dict[str, list[object]]:
    """Call the wanted hooks of one plugin, each with its own settings; what others return is not mixed in."""
    plugin = manager.get_plugin(name)
    brought: dict[str, list[object]] = {}
    for hook in hooks:
        for impl in getattr(manager.hook, hook).get_hookimpls():
            if impl.plugin is not plugin:
                continue
            if impl.hookwrapper or impl.wrapper:
                raise LoadError(
                    name, f"{hook} is implemented as a wrapper, which could change what others return"
                )
            try:
                result = impl.function(*([settings] if impl.argnames else []))
            except (
                Exception,
                SystemExit,
            ) as exc:  # ValueError: settings that it refuses; anything else: a defect
                raise LoadError(
                    name, str(exc) if isinstance(exc, ValueError) else f"{hook} failed ({told(exc)})"
                ) from exc
            brought[hook] = _typed(name, hook, result)
    if not brought:
        raise LoadError(name, f"it implements none of {', '.join(hooks)}")
    return brought


def _typed(name: str, hook: str, result: object) -> list[object]:
    if inspect.iscoroutine(result):
        result.close()
        raise LoadError(
            name, f"{hook} is an async function, which would introduce nothing: hooks are synchronous"
        )
    if hook in _ONE:
        providers, contract = [result], _ONE[hook]
    elif isinstance(result, Sequence) and not isinstance(result, str | bytes):
        providers, contract = list(result), _SEVERAL[hook]
    else:
        raise LoadError(name, f"{hook} returned {type(result).__name__} where a sequence is expected")
    for provider in providers:
        if not isinstance(provider, contract) or isinstance(provider, type):
            raise LoadError(
                name, f"{hook} returned {type(provider).__name__}, which is no {contract.__name__}"
            )
    return providers


def _check_payload_type(provided: Provided[PredicateType], owners: dict[str, str]) -> None:
    """Take the payload type, where there is one, into ``owners``."""
    if not isinstance(provided.provider, PayloadType):
        return
    name: object = provided.provider.payload_type
    if not isinstance(name, str) or not is_media_type(name) or name == PAYLOAD_TYPE:
        raise LoadError(provided.name, "a payload type is a media type, and not that of Statements")
    if name in owners:
        raise LoadError(provided.name, f"the payload type {name} is already brought by the plugin {owners[name]}")
    owners[name] = provided.name


def _by_uri(provided: Sequence[Provided[object]]) -> dict[str, Provided[PredicateType]]:
    by_uri: dict[str, Provided[PredicateType]] = {}
    owners: dict[str, str] = {}
    for each in cast("Sequence[Provided[PredicateType]]", provided):
        names: tuple[object, ...] = (each.provider.uri, *each.provider.names)
        for name in names:
            if not isinstance(name, str) or not name:
                raise LoadError(each.name, "a predicate type needs a URI and names that are texts")
            if name in owners:
                raise LoadError(
                    each.name, f"the predicate type {name} is already brought by the plugin {owners[name]}"
                )
            owners[name] = each.name
        _check_payload_type(each, owners)
        by_uri[each.provider.uri] = each
    return by_uri
