"""The shape of the configuration: frozen Structs, and the defaults as named constants with their reasons.

What a section may hold is what its Struct has; :mod:`signerd.host.config` reads a file into these and refuses
the rest. Paths are absolute, sizes bytes, times seconds. ``scripts/config-doc`` makes the tables of
docs/configuration.md of the texts under constants and fields. Sections of some size have a module of their own,
``config_*`` beside this one.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from signerd.attestation.macs import MacName
from signerd.host.config_approvals import Approvals
from signerd.host.config_keyless import Keyless
from signerd.host.config_limits import Limits
from signerd.host.config_trust import Trust, Verification
from signerd.host.config_types import Certificate, KeyReference, Name, NoKeyReference, Seconds, Uid, Uri
from signerd.wire.macs import MacPurpose

__all__ = [
    "AdminSocket",
    "Backend",
    "Config",
    "Conformance",
    "Daemon",
    "Key",
    "Plugin",
    "Publisher",
    "Socket",
    "Sockets",
    "Tenant",
]

MAX_AGE_DAYS: Final = 365
"""A year: long enough for a release's life, short enough that a key which leaked unnoticed ends by itself."""
WARN_DAYS: Final = 60
"""Two months: a rotation of a hardware key needs people, and some of them are away."""
PRESENCE_S: Final = 60.0
"""Somebody looks up, reads what is to be signed, and touches; who needs longer is not there."""


class Daemon(msgspec.Struct, frozen=True):
    """``[daemon]``. With ``user`` the daemon refuses to run as anybody else; ``development`` lets editable
    plugins in.
    """

    state: str
    """State directory, an absolute path. Absent: `$STATE_DIRECTORY` (systemd's), else `$XDG_STATE_HOME/signerd`, else
    `~/.local/state/signerd`. `--state` goes before it."""
    development: bool = False
    """Let in plugins of editable installations, whose files nobody can compare with a RECORD; `daemon.info` says so."""
    user: str = ""
    """The user that the daemon must run as; as anybody else it refuses to start. Empty: as whoever starts it."""


class Socket(msgspec.Struct, frozen=True):
    """One socket: where it lies, its mode, and the uids that are let in at all (empty: the authenticators
    decide).

    An empty ``path`` is not settled yet: the listener's process chooses one at start.
    """

    path: str = ""
    """Where it listens, an absolute path of at most 107 bytes. Empty: `$XDG_RUNTIME_DIR/signerd/sign.sock`, else in a
    fresh 0700 directory that the `ready` line names. `--socket` goes before it."""
    mode: Literal[0o600, 0o660, 0o666] = 0o600
    """Who may open it at all: the own user, its group too, or everybody. The authenticators decide after that."""
    uids: tuple[Uid, ...] = ()
    """The only uids that are let in, before any authenticator is asked. Empty: the authenticators alone decide."""


class AdminSocket(msgspec.Struct, frozen=True):
    """``[sockets.admin]``: where the admin plane is served. Without the section there is none.

    An empty ``path`` is not settled yet, as a Socket's.
    """

    path: str = ""
    """Where it listens, an absolute path of at most 107 bytes. Empty: `admin.sock` beside the sign socket."""
    uids: Annotated[tuple[Uid, ...], Meta(max_length=64)] = ()
    """Who is let in, by the uid that the kernel names. Empty: the daemon's own alone."""
    group: str = ""
    """Whose members may open the socket's file beside its owner (mode 0660); asked for where `uids` has a second one.
    Empty: mode 0600."""

    @property
    def mode(self) -> int:
        """The mode of the socket's file."""
        return 0o660 if self.group else 0o600


class Sockets(msgspec.Struct, frozen=True):
    """``[sockets.*]``: the sockets that the daemon listens on."""

    sign: Socket
    admin: AdminSocket | None = None


class Conformance(msgspec.Struct, frozen=True):
    """``[conformance]``: whose word on plugins counts."""

    certifiers: tuple[str, ...] = ()
    """Files with public keys in PEM, absolute paths: a certificate that a plugin's entry names must be signed by one of
    these keys."""


class Plugin(msgspec.Struct, frozen=True):
    """``[plugins.NAME]``: load it. ``version`` and ``record`` (hex SHA-256 of its RECORD) are pins, the rest
    settings.
    """

    name: Name
    """The entry point's name, as `signerd plugins` lists it."""
    certificate: Certificate
    """The file of its conformance certificate, an absolute path; or `none`, which says that nobody's judgement of it is
    asked for."""
    settings: dict[str, object] = {}
    """Every other key of the table: the plugin's own, refused by it if unknown."""
    version: Annotated[str, Meta(min_length=1)] | None = None
    """Pin: the distribution must have this version."""
    record: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    """Pin: the distribution's RECORD must have this SHA-256, which `signerd plugins` prints."""


class Backend(msgspec.Struct, frozen=True):
    """``[backends.NAME]``: one instance of a key backend, in a worker of its own.

    ``kind`` chooses the deadline of its calls, which ``call_deadline_s`` replaces. Pins as those of a plugin.
    """

    name: Name
    """The instance: several of one scheme may stand side by side, each in a worker of its own."""
    scheme: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]{0,31}\Z")]
    """Which backend: the entry point of this name, and the part of its key references before the colon."""
    certificate: Certificate
    """As a plugin's."""
    settings: dict[str, object] = {}
    """The backend's own table. Only its worker understands it: a fault in it shows when that starts."""
    kind: Literal["software", "hsm", "network"] = "software"
    """Chooses among the `worker_call_*` limits the deadline of its calls."""
    call_deadline_s: Seconds | None = None
    """A deadline of its own for each call, in place of the one by `kind`."""
    version: Annotated[str, Meta(min_length=1)] | None = None
    """Pin, as a plugin's."""
    record: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    """Pin, as a plugin's."""
    socket: str = ""
    """Connect to a worker that is a service of its own, at this path, instead of starting one. It has its settings and
    its code from elsewhere, so `settings` and pins have no place beside this."""
    credential: str = ""
    """With `socket`: what both sides prove to each other that they hold: the absolute path of a file of 32 to 4096
    bytes that is closed to others, or the name of a systemd credential. Never sent, never logged."""
    worker_uid: Uid | None = None
    """With `socket`: the user that the worker must run as, by what the kernel says. Absent: the daemon's own."""

    def deadline_s(self, limits: Limits) -> float:
        """Return how many seconds a call to this backend may take."""
        if self.call_deadline_s is not None:
            return self.call_deadline_s
        return {
            "software": limits.worker_call_software_s,
            "hsm": limits.worker_call_hsm_s,
            "network": limits.worker_call_network_s,
        }[self.kind]


class Publisher(msgspec.Struct, frozen=True):
    """``[publishers.NAME]``: a transparency log or timestamp authority, in a process of its own with the network and
    without keys.
    """

    name: Name
    """As records name it."""
    plugin: Name
    """The entry point of its plugin, as `signerd plugins` lists it."""
    kind: Literal["log", "stamp"]
    """What it brings: an entry of a log, or a timestamp. What its plugin says must be the same."""
    certificate: Certificate
    """As a plugin's."""
    settings: dict[str, object] = {}
    """The plugin's own table. Only its process understands it: a fault in it shows when that starts."""
    needed: bool = True
    """Whether an answer that needs its kind waits for this one. A log of which this is false is a mirror: it gets its
    entries later, from the outbox."""
    call_deadline_s: Seconds | None = None
    """A deadline of its own for each call, in place of `worker_call_network_s`."""
    version: Annotated[str, Meta(min_length=1)] | None = None
    """Pin, as a plugin's."""
    record: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    """Pin, as a plugin's."""

    def deadline_s(self, limits: Limits) -> float:
        """Return how many seconds a call to it may take."""
        return limits.worker_call_network_s if self.call_deadline_s is None else self.call_deadline_s


class Tenant(msgspec.Struct, frozen=True):
    """``[tenants.NAME]``. ``predicates`` None allows the whole catalogue; ``default_key`` may be left out
    with one key.
    """

    name: Name
    """As authenticators name it in a principal."""
    keys: Annotated[tuple[KeyReference, ...], Meta(min_length=1)]
    """Its keys; no other tenant can name, use or list them."""
    default_key: NoKeyReference = ""
    """Signs where a request names no key. May be left out where there is one that signs, or none."""
    profile: Annotated[str, Meta(max_length=64)] = "world"
    """Which algorithms its keys may have: `world`, `fips`, `eidas`, `kcmvp`, `gost` or `sm`, or several joined by `+`,
    of which each key needs one. It restricts algorithms; it makes no module validated."""
    predicates: tuple[Uri, ...] | None = None
    """The predicate types that it may have signed, as URIs of the catalogue. Absent: all of it."""
    exempt_predicates: tuple[Uri, ...] = ()
    """Types that need no release although their catalogue says so; each record says `release_check_waived`."""
    require_attested: bool = False
    """Refuse a tool's digest that the caller merely asserted. No check attests yet, so this refuses every type that
    needs a release."""
    require_hardware: bool = False
    """Refuse keys that their backend does not attest to have been made in hardware that they cannot leave."""
    default_keys: dict[str, KeyReference] = {}
    """By plan: the key that signs in place of `default_key` for callers of this plan."""
    transparency: Literal["none", "async", "required"] = "none"
    """Where a request does not say: whether signatures go into the logs, before the answer or after it."""
    timestamp: bool = False
    """Where a request does not say: whether signatures are stamped."""


class Key(msgspec.Struct, frozen=True):
    """``[keys."REF"]``: whose key it is and which backend has it; ``generate`` makes it at first start."""

    key: KeyReference
    """The reference, `SCHEME:` and the backend's name for it."""
    backend: Name
    """The `[backends.NAME]` that has it."""
    tenant: Name
    """Whose it is; that tenant's `keys` must name it too."""
    generate: (
        Literal["ES256", "ES384", "ES512", "Ed25519", "GOST3410-2012-256", "GOST3410-2012-512"] | MacName | None
    ) = None
    """Make a key of this algorithm at the first start that does not find one. A key that was there before is never made
    anew."""
    plans: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)] | None = None
    """The only plans that it signs for. Absent: every plan."""
    fallback: KeyReference | None = None
    """Signs in its place while its backend cannot be reached, and for no other reason: another key of the same tenant.
    Each record then says `key_fallback`."""
    max_age_days: Annotated[int, Meta(ge=1, le=36500)] = MAX_AGE_DAYS
    """A version that was added longer ago no longer signs (`key.expired`): rotate it before."""
    warn_days: Annotated[int, Meta(ge=0, le=36500)] = WARN_DAYS
    """So long before, results and the sealer's log begin to say so."""
    purposes: Annotated[tuple[MacPurpose, ...], Meta(min_length=1)] | None = None
    """Makes it a key for MACs (`hmac.compute`, `hmac.verify`), which signs nothing, for these purposes alone. With
    `algorithm`."""
    algorithm: MacName | None = None
    """With `purposes`: the one algorithm of such a key. The tenant's profile must allow it for each of its purposes."""
    keyless: Keyless | None = None
    """Of a backend that signs by certificates: whose certificates count, see Keyless. Such a key has no versions."""
    presence: KeyReference | None = None
    """It signs only what somebody has approved by a touch: the key with `rp_id`, of the same tenant, whose assertion
    over these very bytes is asked for each time."""
    presence_s: Seconds = PRESENCE_S
    """With `presence`: how long the touch may take, and then the caller to repeat its request."""
    rp_id: Annotated[str, Meta(max_length=253)] = ""
    """Makes it the credential of a FIDO2 authenticator, which approves and never signs by itself: the relying party
    that it was enrolled for."""
    origin: Annotated[str, Meta(max_length=2048)] = ""
    """With `rp_id`: the origin of assertions that come by WebAuthn. Empty: none of these counts."""
    user_verification: bool = False
    """With `rp_id`: demand that the authenticator verified its user (a PIN, a fingerprint), where a touch is not
    enough."""


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
    conformance: Conformance = Conformance()
    approvals: Approvals = Approvals()
    trust: Trust = Trust()
    verification: Verification = Verification()
    publishers: tuple[Publisher, ...] = ()
    source: str = ""
