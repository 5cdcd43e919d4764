"""The shape of the configuration: frozen Structs, and the defaults as named constants with their reasons.

What a section may hold is what its Struct has; :mod:`signerd.host.config` reads a file into these and refuses
the rest. Paths are absolute, sizes bytes, times seconds.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "Backend",
    "Config",
    "Daemon",
    "Key",
    "Limits",
    "Plugin",
    "Socket",
    "Sockets",
    "Tenant",
]

REQUEST_DEADLINE_S: Final = 30.0
"""A caller that names no deadline: enough for a hardware key behind a queue, short of a caller's own
time-out.
"""
LONGEST_DEADLINE_S: Final = 120.0
"""What a caller may ask for at most: longer ones would only hold slots for callers that have gone."""
HELLO_TIMEOUT_S: Final = 5.0
"""The first message needs no thought: who is silent for longer holds a connection for nothing."""
BIND_TIMEOUT_S: Final = 30.0
"""Fetching a token first may take a while; past this an unbound connection is closed."""
CONNECTIONS_PER_UID: Final = 256
"""A quarter of all: no single user can keep the others out."""
CONNECTIONS: Final = 1024
"""Bounds memory and descriptors, with room below the usual soft limit once it is raised."""
IN_FLIGHT: Final = 64
"""Per connection: the depth at which groups are full; a plan may lower it."""
UNBOUND_BYTES_PER_UID: Final = 4 * 1024 * 1024
"""What callers without a principal may make the daemon hold: four frames of an unbound connection."""
INLINE_BYTES: Final = 1024 * 1024
"""Larger values come by descriptor, so that no frame holds up a connection for long."""
PAYLOAD_BYTES: Final = 128 * 1024 * 1024
"""Twice the largest SBOMs seen in practice; memory for one document is a multiple of this."""
BATCH_ITEMS: Final = 256
"""One frame's worth of statements of 2 KB with room to spare; more brings no more speed."""
SUBJECTS: Final = 1024
"""A release with more artefacts is better described by several statements."""
DIGESTS: Final = 32
"""Per subject: more than there are algorithms in use."""
AUDIT_WRITE_S: Final = 2.0
"""A disk that takes longer is broken for the callers' purposes; the hang becomes a refusal."""
AUDIT_REFUSED_BYTES: Final = 256 * 1024
"""Per uid and minute: some 300 refusals, each recorded by itself, tell what happened; the rest is counted."""
WORKER_CALL_SOFTWARE_S: Final = 1.0
"""A software signature takes far less than a millisecond; a full group of RSA-4096 still fits."""
WORKER_CALL_HSM_S: Final = 10.0
"""Hardware queues, and some of it takes hundreds of milliseconds a signature."""
WORKER_CALL_NETWORK_S: Final = 25.0
"""Below the request's default deadline, so that the caller hears why."""
WORKER_BACKOFF_FIRST_S: Final = 0.1
"""Most crashes are single: the worker is back before callers notice."""
WORKER_BACKOFF_LONGEST_S: Final = 30.0
"""What keeps crashing is tried twice a minute, which costs nothing and ends by itself."""

GIB: Final = 1024 * 1024 * 1024
FRAME_BYTES: Final = 4 * 1024 * 1024
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=GIB)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
KeyReference = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*:[!-~]+\Z", max_length=256)]
Uid = Annotated[int, Meta(ge=0, le=2**32 - 2)]
Uri = Annotated[str, Meta(min_length=1, max_length=2048)]


class Daemon(msgspec.Struct, frozen=True):
    """``[daemon]``. With ``user`` the daemon refuses to run as anybody else; ``development`` lets editable
    plugins in.
    """

    state: str
    development: bool = False
    user: str = ""


class Socket(msgspec.Struct, frozen=True):
    """One socket: where it lies, its mode, and the uids that are let in at all (empty: the authenticators
    decide).

    An empty ``path`` is not settled yet: the listener's process chooses one at start.
    """

    path: str = ""
    mode: Literal[0o600, 0o660, 0o666] = 0o600
    uids: tuple[Uid, ...] = ()


class Sockets(msgspec.Struct, frozen=True):
    """``[sockets.*]``: the sockets that the daemon listens on."""

    sign: Socket


class Limits(msgspec.Struct, frozen=True):
    """``[limits]``: each with a default of that name in this module, where its reason stands."""

    request_deadline_s: Seconds = REQUEST_DEADLINE_S
    longest_deadline_s: Seconds = LONGEST_DEADLINE_S
    hello_timeout_s: Seconds = HELLO_TIMEOUT_S
    bind_timeout_s: Seconds = BIND_TIMEOUT_S
    connections_per_uid: Count = CONNECTIONS_PER_UID
    connections: Count = CONNECTIONS
    in_flight: Count = IN_FLIGHT
    unbound_bytes_per_uid: Bytes = UNBOUND_BYTES_PER_UID
    inline_bytes: Annotated[int, Meta(ge=1024, le=FRAME_BYTES - 64 * 1024)] = INLINE_BYTES
    payload_bytes: Bytes = PAYLOAD_BYTES
    batch_items: Annotated[int, Meta(ge=1, le=4096)] = BATCH_ITEMS
    subjects: Count = SUBJECTS
    digests: Count = DIGESTS
    audit_write_s: Seconds = AUDIT_WRITE_S
    audit_refused_bytes: Bytes = AUDIT_REFUSED_BYTES
    worker_call_software_s: Seconds = WORKER_CALL_SOFTWARE_S
    worker_call_hsm_s: Seconds = WORKER_CALL_HSM_S
    worker_call_network_s: Seconds = WORKER_CALL_NETWORK_S
    worker_backoff_first_s: Seconds = WORKER_BACKOFF_FIRST_S
    worker_backoff_longest_s: Seconds = WORKER_BACKOFF_LONGEST_S


class Plugin(msgspec.Struct, frozen=True):
    """``[plugins.NAME]``: load it. ``version`` and ``record`` (hex SHA-256 of its RECORD) are pins, the rest
    settings.
    """

    name: Name
    settings: dict[str, object] = {}
    version: Annotated[str, Meta(min_length=1)] | None = None
    record: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None


class Backend(msgspec.Struct, frozen=True):
    """``[backends.NAME]``: one instance of a key backend, in a worker of its own.

    ``kind`` chooses the deadline of its calls, which ``call_deadline_s`` replaces. Pins as those of a plugin.
    """

    name: Name
    scheme: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]{0,31}\Z")]
    settings: dict[str, object] = {}
    kind: Literal["software", "hsm", "network"] = "software"
    call_deadline_s: Seconds | None = None
    version: Annotated[str, Meta(min_length=1)] | None = None
    record: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None

    def deadline_s(self, limits: Limits) -> float:
        """Return how many seconds a call to this backend may take."""
        if self.call_deadline_s is not None:
            return self.call_deadline_s
        return {
            "software": limits.worker_call_software_s,
            "hsm": limits.worker_call_hsm_s,
            "network": limits.worker_call_network_s,
        }[self.kind]


class Tenant(msgspec.Struct, frozen=True):
    """``[tenants.NAME]``. ``predicates`` None allows the whole catalogue; ``default_key`` may be left out
    with one key.
    """

    name: Name
    keys: Annotated[tuple[KeyReference, ...], Meta(min_length=1)]
    default_key: KeyReference = ""
    profile: Literal["world"] = "world"
    predicates: tuple[Uri, ...] | None = None
    exempt_predicates: tuple[Uri, ...] = ()
    require_attested: bool = False


class Key(msgspec.Struct, frozen=True):
    """``[keys."REF"]``: whose key it is and which backend has it; ``generate`` makes it at first start."""

    key: KeyReference
    backend: Name
    tenant: Name
    generate: Literal["ES256", "ES384", "ES512", "Ed25519"] | None = None


class Config(msgspec.Struct, frozen=True):
    """All of it, as front end, sealer and document worker get it; ``source`` is the file, empty for embedded
    defaults.
    """

    daemon: Daemon
    sockets: Sockets
    limits: Limits
    plugins: tuple[Plugin, ...]
    backends: tuple[Backend, ...]
    tenants: tuple[Tenant, ...]
    keys: tuple[Key, ...]
    source: str = ""
