"""The eight hooks by which plugins introduce themselves.

A hook is called once, at start, and returns typed providers. It decides nothing: pluggy is synchronous, and an
``async def`` hook would return a coroutine, which is truthy. Decisions are made by the providers' methods
(:mod:`signerd.contracts.providers`), called under the host's guard.

``settings`` is the plugin's own table of the configuration file, ``[plugins.<name>]``; a plugin refuses unknown
keys with ``ValueError``. How many implementations each hook may have stands in ``signerd.host.arity``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import pluggy

from signerd.contracts.providers import (
    AuditSink,
    Authenticator,
    EntitlementSource,
    KeyBackend,
    PredicateType,
    ReleaseCheck,
    TransparencyLog,
)
from signerd.contracts.services import QuotaStore

__all__ = [
    "KEY_BACKENDS_GROUP",
    "PLUGINS_GROUP",
    "PROJECT",
    "PUBLISHERS_GROUP",
    "Settings",
    "hookimpl",
    "hookspec",
    "signerd_audit_sinks",
    "signerd_authenticators",
    "signerd_entitlements",
    "signerd_key_backends",
    "signerd_predicates",
    "signerd_quota_stores",
    "signerd_release_checks",
    "signerd_transparency_logs",
]

PROJECT: Final = "signerd"
PLUGINS_GROUP: Final = "signerd.plugins.v1"
"""Entry points of policy plugins, loaded in the front end; the group carries the API version."""
PUBLISHERS_GROUP: Final = "signerd.publishers.v1"
"""Entry points of transparency logs and timestamp authorities, imported in a publisher only."""
KEY_BACKENDS_GROUP: Final = "signerd.key_backends.v1"
"""Entry points of key backends, imported in a key worker only; the entry's name is the scheme of its references."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Settings = Mapping[str, object]


@hookspec
def signerd_authenticators(settings: Settings) -> Sequence[Authenticator]:  # type: ignore[empty-body]
    """Who is calling. Asked in the configured order; the first Principal counts, an exception stops."""


@hookspec
def signerd_entitlements(settings: Settings) -> EntitlementSource:  # type: ignore[empty-body]
    """What the caller's tenant has paid for. Exactly one."""


@hookspec
def signerd_release_checks(settings: Settings) -> Sequence[ReleaseCheck]:  # type: ignore[empty-body]
    """Whether the tool that made the content is a genuine release. At least one; all must pass."""


@hookspec
def signerd_predicates(settings: Settings) -> Sequence[PredicateType]:  # type: ignore[empty-body]
    """What may be signed. One type per predicateType URI; one with a ``payload_type`` may be signed bare too."""


@hookspec
def signerd_key_backends(settings: Settings) -> KeyBackend:  # type: ignore[empty-body]
    """What signs. Called in the key worker; one backend per scheme of key references, several instances."""


@hookspec
def signerd_quota_stores(settings: Settings) -> QuotaStore:  # type: ignore[empty-body]
    """Where rates and counts live when one host's memory is not enough. At most one; else in process."""


@hookspec
def signerd_audit_sinks(settings: Settings) -> AuditSink:  # type: ignore[empty-body]
    """Where audit leaves go beside the store. Any number; no process of this release calls it."""


@hookspec
def signerd_transparency_logs(settings: Settings) -> TransparencyLog:  # type: ignore[empty-body]
    """A log or a timestamp authority. Called in the publisher; one for each, any number of publishers."""
