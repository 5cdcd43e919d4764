"""What must agree across sections of the configuration: paths, limits, and who refers to whom."""

import grp
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from signerd.errors import SignerdError
from signerd.host.config_approvals import Approvals
from signerd.host.config_keyless import Keyless
from signerd.host.config_limits import Limits
from signerd.host.config_macs import mac_problems, signing_problems, signs_nothing
from signerd.host.config_model import Backend, Config, Key, Tenant
from signerd.host.config_presence import presence_problems
from signerd.host.config_profiles import profile_problems
from signerd.host.config_trust import Trust, TrustedService, Verification
from signerd.host.tables import quoted
from signerd.verification.ssh_keys import SshPublicKey

__all__ = ["cross_problems", "names_pin"]

SUN_PATH_MAX = 107
"""Bytes in the path of a Unix socket: sun_path's 108 less the closing zero (unix(7))."""

_ORDERED = (
    ("request_deadline_s", "longest_deadline_s"),
    ("connections_per_uid", "connections"),
    ("inline_bytes", "payload_bytes"),
    ("worker_backoff_first_s", "worker_backoff_longest_s"),
)

_PIN = re.compile(r"[:;?&]\s*pin-(?:value|source)\s*(?:=|$)", re.IGNORECASE)
"""A PIN in a PKCS#11 URI, or the place of one (RFC 7512, section 2.3)."""

_SECRETS = {"password", "pin"}

_UNFIT_PATH = re.compile(r"(?:^|/)\.\.(?:/|\Z)|[\0\ud800-\udfff]")
_CREDENTIAL = re.compile(r"/[^\n]+|[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


def names_pin(reference: str) -> bool:
    """Whether a key reference has a PIN in it, or the place of one; such a reference is refused and never logged."""
    return _PIN.search(reference) is not None


def cross_problems(config: Config) -> list[str]:
    """Return a line ``key: expectation`` for everything that does not fit together; empty when all does."""
    if any(names_pin(key.key) for key in config.keys):
        # Alone: the other problems quote references, and what stands here goes into a log.
        return ["keys: expected references without pin-value and pin-source: a PIN has its own place in [backends]"]
    return [
        *_paths(config),
        *_limits(config.limits),
        *_certificates(config),
        *(problem for backend in config.backends for problem in _backend(backend)),
        *_one_worker_each(config),
        *(problem for tenant in config.tenants for problem in _tenant(config, tenant)),
        *_keys(config),
        *signing_problems(config),
        *presence_problems(config),
        *profile_problems(config),
        *_needed(config),
        *_approvals(config.approvals),
        *_publishers(config),
        *_trust(config.trust),
        *_verification(config.verification),
    ]


def _paths(config: Config) -> Iterator[str]:
    for key, path in (
        ("daemon.state", config.daemon.state),
        *((f"sockets.{name}.path", path or "/") for name, path in _sockets(config)),
    ):
        if not path.startswith("/"):
            yield f"{key}: expected an absolute path, got {quoted(path)}"
        if "\0" in path or ".." in path.split("/"):
            yield f"{key}: expected a path without .. and without NUL"
        if any(0xD800 <= ord(letter) < 0xE000 for letter in path):
            # Bytes of the command line that are no UTF-8 come as lone surrogates; no other process could be
            # told them.
            yield f"{key}: expected a path in UTF-8, got {quoted(path)}"
    for name, path in _sockets(config):
        if len(path.encode("utf-8", "surrogateescape")) > SUN_PATH_MAX:
            yield f"sockets.{name}.path: expected at most {SUN_PATH_MAX} bytes: no Unix socket can have more"
    yield from _admin(config)


def _sockets(config: Config) -> list[tuple[str, str]]:
    admin = config.sockets.admin
    return [("sign", config.sockets.sign.path), *([] if admin is None else [("admin", admin.path)])]


def _admin(config: Config) -> Iterator[str]:
    """A second uid needs a named group to open the file; a group without a second uid lets nobody in who may enter."""
    admin = config.sockets.admin
    if admin is None:
        return
    if admin.path and admin.path == config.sockets.sign.path:
        yield "sockets.admin.path: expected another path than that of sockets.sign"
    if len(set(admin.uids)) != len(admin.uids):
        yield "sockets.admin.uids: expected each uid once"
    if admin.group and len(admin.uids) < 2:
        yield "sockets.admin.group: expected with a second uid in sockets.admin.uids only"
    elif not admin.group and len(admin.uids) > 1:
        yield "sockets.admin.group: missing; expected the group by which a second uid opens the socket"
    if admin.group:
        try:
            grp.getgrnam(admin.group)
        except (KeyError, ValueError):
            yield f"sockets.admin.group: expected a group of this host, got {quoted(admin.group)}"


def _limits(limits: Limits) -> Iterator[str]:
    for lower, upper in _ORDERED:
        if getattr(limits, lower) > getattr(limits, upper):
            yield f"limits.{lower}: expected at most limits.{upper}, which is {getattr(limits, upper)}"


def _certificates(config: Config) -> Iterator[str]:
    for path in config.conformance.certifiers:
        if not path.startswith("/") or "\0" in path:
            yield f"conformance.certifiers: expected absolute paths, got {quoted(path)}"
    if config.conformance.certifiers:
        return
    named = [(f"plugins.{quoted(plugin.name)}", plugin.certificate) for plugin in config.plugins]
    named += [(f"publishers.{quoted(publisher.name)}", publisher.certificate) for publisher in config.publishers]
    named += [(f"backends.{quoted(backend.name)}", backend.certificate) for backend in config.backends]
    for where, certificate in named:
        if certificate != "none":
            yield f"{where}.certificate: expected a key in [conformance] certifiers that may have signed it"


def _backend(backend: Backend) -> Iterator[str]:
    where = f"backends.{quoted(backend.name)}"
    yield from _secrets(f"{where}.settings", backend.settings)
    if not backend.socket:
        if backend.credential:
            yield f"{where}.credential: expected none without socket"
        if backend.worker_uid is not None:
            yield f"{where}.worker_uid: expected none without socket"
        return
    path = backend.socket
    if not path.startswith("/") or _UNFIT_PATH.search(path) or path.endswith("/"):
        yield f"{where}.socket: expected an absolute path in UTF-8 without .. and without NUL, got {quoted(path)}"
    if len(path.encode("utf-8", "surrogateescape")) > SUN_PATH_MAX:
        yield f"{where}.socket: expected at most {SUN_PATH_MAX} bytes: no Unix socket can have more"
    if not _CREDENTIAL.fullmatch(backend.credential) or _UNFIT_PATH.search(backend.credential):
        yield f"{where}.credential: expected an absolute path or the name of a systemd credential"
    for key, given in (("settings", backend.settings), ("version", backend.version), ("record", backend.record)):
        if given:
            yield f"{where}.{key}: expected none with socket: that worker is not started from here"
    if backend.certificate != "none":
        yield f'{where}.certificate: expected "none" with socket: what runs there cannot be compared with it'


def _secrets(where: str, table: Mapping[str, object]) -> Iterator[str]:
    """What a backend is told by name is not known here; what no backend should be told in this file is."""
    for key, value in table.items():
        place = f"{where}.{quoted(key)}"
        if isinstance(value, Mapping):
            yield from _secrets(place, value)
        elif key in _SECRETS:
            yield f"{place}: expected none: a PIN or password lies in a file or credential of its own"


def _one_worker_each(config: Config) -> Iterator[str]:
    # A worker serves one connection: two instances at one path would shut each other out.
    paths = [backend.socket for backend in config.backends if backend.socket]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"backends: expected a socket of its own for each, got {quoted(path)} more than once"


def _tenant(config: Config, tenant: Tenant) -> Iterator[str]:
    where = f"tenants.{quoted(tenant.name)}"
    keys = {key.key: key for key in config.keys}
    for reference in tenant.keys:
        if reference not in keys:
            yield f"{where}.keys: expected keys that have a [keys] table, got {reference}"
        elif keys[reference].tenant != tenant.name:
            yield f"{where}.keys: {reference} is the key of tenant {keys[reference].tenant}"
    if len(set(tenant.keys)) != len(tenant.keys):
        yield f"{where}.keys: expected each key once"
    if not tenant.default_key and not signs_nothing(tenant, keys):
        signing = [name for name in tenant.keys if name not in keys or not (keys[name].rp_id or keys[name].purposes)]
        yield f"{where}.default_key: missing; expected one of {', '.join(signing)}"
    elif tenant.default_key and tenant.default_key not in tenant.keys:
        yield f"{where}.default_key: expected one of {', '.join(tenant.keys)}, got {tenant.default_key}"
    surplus_keys = sorted(set(tenant.default_keys.values()) - set(tenant.keys))
    if surplus_keys:
        yield f"{where}.default_keys: expected keys out of {', '.join(tenant.keys)}, got {', '.join(surplus_keys)}"
    for plan, reference in tenant.default_keys.items():
        if reference in keys and keys[reference].plans is not None and plan not in (keys[reference].plans or ()):
            yield f"{where}.default_keys.{quoted(plan)}: {reference} does not sign for this plan"
    if tenant.predicates is not None:
        surplus = sorted(set(tenant.exempt_predicates) - set(tenant.predicates))
        if surplus:
            yield f"{where}.exempt_predicates: expected types of {where}.predicates, got {', '.join(surplus)}"


def _keys(config: Config) -> Iterator[str]:
    backends = {backend.name: backend for backend in config.backends}
    tenants = {tenant.name: tenant for tenant in config.tenants}
    for key in config.keys:
        scheme = key.key.partition(":")[0]
        where = f"keys.{quoted(key.key)}"
        if key.backend not in backends:
            yield f"{where}.backend: expected one of {_names(backends)}, got {key.backend}"
        elif backends[key.backend].scheme != scheme:
            other = backends[key.backend].scheme
            yield f"{where}.backend: expected a backend of scheme {scheme}, {key.backend} is one of scheme {other}"
        if key.keyless is not None:
            yield from _keyless(key, key.keyless, f"{where}.keyless")
        yield from mac_problems(key, tenants.get(key.tenant), where)
        if key.tenant not in tenants:
            yield f"{where}.tenant: expected one of {_names(tenants)}, got {key.tenant}"
        elif key.key not in tenants[key.tenant].keys:
            yield f"{where}.tenant: expected {key.key} among tenants.{quoted(key.tenant)}.keys"
        elif key.fallback and (key.fallback not in tenants[key.tenant].keys or key.fallback == key.key):
            yield f"{where}.fallback: expected another key of tenant {key.tenant}, got {key.fallback}"


def _keyless(key: Key, keyless: Keyless, where: str) -> Iterator[str]:
    if (keyless.ct_log_keys is None) is (keyless.ct_log is None):
        yield f'{where}: expected either ct_log_keys or ct_log = "none"'
    if key.generate is not None:
        yield f"{where}: expected none with generate: no key is kept"


def _names(named: Collection[str]) -> str:
    return ", ".join(named) or "(none)"


def _needed(config: Config) -> Iterator[str]:
    for section in ("plugins", "backends", "tenants", "keys"):
        if not getattr(config, section):
            yield f"{section}: expected at least one table [{section}.NAME]"


def _approvals(approvals: Approvals) -> Iterator[str]:
    names: dict[str, int] = {}
    owners: dict[bytes, int] = {}
    uids: dict[int, int] = {}
    for index, approver in enumerate(approvals.approvers):
        where = f"approvals.approvers[{index}]"
        first = names.setdefault(approver.name, index)
        if first != index:
            yield f"{where}.name: expected each name once, {approver.name} is that of approvers[{first}]"
        if approver.uid is not None and (first := uids.setdefault(approver.uid, index)) != index:
            # Somebody with two keys would be two of those who must agree.
            yield f"{where}.uid: expected each uid once, {approver.uid} is that of approvers[{first}]"
        try:
            blob = SshPublicKey.from_line(approver.key).blob
        except SignerdError as error:
            yield f"{where}.key: expected an OpenSSH public key: {error.public} ({error.reason})"
            continue
        first = owners.setdefault(blob, index)
        if first != index:
            yield f"{where}.key: expected each key once, it is that of approvers[{first}]"
    for operation, needed in approvals.operations.items():
        if needed > len(owners):
            where = f"approvals.operations.{quoted(operation)}"
            yield f"{where}: expected at most {len(owners)}, the approvers with a key of their own, got {needed}"


def _publishers(config: Config) -> Iterator[str]:
    kinds = {publisher.kind for publisher in config.publishers if publisher.needed}
    for publisher in config.publishers:
        if publisher.kind == "stamp" and not publisher.needed:
            where = f"publishers.{quoted(publisher.name)}"
            yield f"{where}.needed: expected true: a stamp that comes later has another time"
    for tenant in config.tenants:
        where = f"tenants.{quoted(tenant.name)}"
        if tenant.transparency != "none" and "log" not in kinds:
            yield f"{where}.transparency: expected none without a needed [publishers.NAME] of kind log"
        if tenant.timestamp and "stamp" not in kinds:
            yield f"{where}.timestamp: expected false without a [publishers.NAME] of kind stamp"


def _trust(trust: Trust) -> Iterator[str]:
    for name in ("fulcio", "ct_logs", "rekor", "tsa", "oidc"):
        parts: Sequence[TrustedService] = getattr(trust, name)
        for index, part in enumerate(parts):
            where = f"trust.{name}[{index}]"
            if part.until is not None and part.until < part.since:
                yield f"{where}.until: expected a time not before since"
            for key in ("chain", "key"):
                path = getattr(part, key, "/")
                if not _fit(path):
                    yield f"{where}.{key}: expected an absolute path in UTF-8 without .., got {quoted(path)}"


def _verification(verification: Verification) -> Iterator[str]:
    root = verification.trusted_root
    if root and not _fit(root):
        yield f"verification.trusted_root: expected an absolute path in UTF-8 without .., got {quoted(root)}"
    for path in verification.policies:
        if not _fit(path):
            yield f"verification.policies: expected absolute paths in UTF-8 without .., got {quoted(path)}"


def _fit(path: str) -> bool:
    return path.startswith("/") and not _UNFIT_PATH.search(path)
