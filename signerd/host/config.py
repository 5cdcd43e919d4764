"""Reads the configuration: one TOML file, typed; or the embedded defaults, through the very same types.

Nothing is guessed and nothing ignored: an unknown key, a wrong type, a relative path or a reference to what
is not there is a problem, and all problems that can be found are told at once, each as ``file: key:
expectation``.
"""

import atexit
import contextlib
import os
import pwd
import re
import tempfile
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from signerd.errors import Refusal
from signerd.host.config_approvals import Approvals, Approver
from signerd.host.config_checks import cross_problems
from signerd.host.config_limits import Limits
from signerd.host.config_model import (
    AdminSocket,
    Backend,
    Config,
    Conformance,
    Daemon,
    Key,
    Plugin,
    Publisher,
    Socket,
    Sockets,
    Tenant,
)
from signerd.host.config_trust import (
    Trust,
    TrustedAuthority,
    TrustedLog,
    TrustedRekor,
    TrustedService,
    Verification,
)
from signerd.host.owned_file import read_owned
from signerd.host.tables import TableReader, quoted

__all__ = [
    "ConfigError",
    "check_user",
    "decode",
    "default_socket",
    "default_state",
    "embedded",
    "encode",
    "load",
    "parse",
    "read_text",
    "settle_socket",
]

MOST_BYTES: Final = 1024 * 1024
"""A configuration file is at most this long: anything larger is the wrong file."""
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_SECTIONS: Final = (
    "daemon", "sockets", "limits", "conformance", "plugins", "backends", "publishers", "tenants", "keys", "approvals",
    "trust", "verification",
)  # fmt: skip
S = TypeVar("S", bound=msgspec.Struct)


class ConfigError(Refusal):
    """The configuration cannot be used; ``problems`` has a line for each fault, ``file: key: expectation``.

    Raised at start and by ``signerd check`` only. Its code, ``request.malformed``, gives the exit code 2.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            "request.malformed",
            "configuration",
            "the configuration cannot be used",
            operator="\n".join(problems),
        )
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


def load(
    path: Path,
    *,
    state: Path | None = None,
    socket: Path | None = None,
    env: Mapping[str, str] = os.environ,
) -> Config:
    """Read the file at ``path``. ``state`` and ``socket`` take precedence over it.

    Where neither says, the state is :func:`default_state`, and the socket's path stays empty until
    :func:`settle_socket`: reading a configuration makes nothing.

    Raises ConfigError with all that is wrong. The file must be a regular one that only its owner, who is root
    or the daemon's user, or a group may write: whoever can write it decides what is signed.
    """
    return parse(read_text(path), str(path), state=state, socket=socket, env=env)


def read_text(path: Path) -> str:
    """Return the text of a file that decides what is signed; raises ConfigError as :func:`load` does."""
    file = str(path)
    try:
        return read_owned(path, MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{file}: (file): expected UTF-8: {exc.reason} at byte {exc.start}"]) from exc
    except ValueError as exc:
        raise ConfigError([f"{file}: (file): {exc}"]) from exc


def parse(
    text: str,
    file: str,
    *,
    state: Path | None = None,
    socket: Path | None = None,
    env: Mapping[str, str] = os.environ,
) -> Config:
    """Read the configuration's ``text``; ``file`` names it in the problems. Raises as :func:`load`."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ConfigError([f"{file}: (syntax): expected TOML: {exc}"]) from exc
    reader = TableReader(file)
    reader.known(document, _SECTIONS, "")
    daemon_table = {"state": str(default_state(env)), **reader.table(document, "daemon", "daemon")}
    if state is not None:
        daemon_table["state"] = str(state)
    daemon = reader.struct(Daemon, daemon_table, "daemon")
    sockets = _sockets(reader, document, socket)
    limits = reader.struct(Limits, reader.table(document, "limits", "limits"), "limits")
    conformance = reader.struct(Conformance, reader.table(document, "conformance", "conformance"), "conformance")
    plugins = [_plugin(reader, name, table) for name, table in reader.tables(document, "plugins")]
    backends = [_backend(reader, name, table) for name, table in reader.tables(document, "backends")]
    publishers = [_publisher(reader, name, table) for name, table in reader.tables(document, "publishers")]
    keys = [_key(reader, name, table) for name, table in reader.tables(document, "keys")]
    others = {key.key for key in _all(keys) if key.purposes is not None or key.rp_id}
    tenants = [_tenant(reader, name, table, others) for name, table in reader.tables(document, "tenants")]
    approvals = _approvals(reader, reader.table(document, "approvals", "approvals"))
    trust = _trust(reader, reader.table(document, "trust", "trust"))
    verification = reader.struct(Verification, reader.table(document, "verification", "verification"), "verification")
    if daemon is None or sockets is None or limits is None or conformance is None or approvals is None:
        raise ConfigError(reader.problems)
    if reader.problems or trust is None or verification is None:
        raise ConfigError(reader.problems)
    config = Config(
        daemon,
        sockets,
        limits,
        _all(plugins),
        _all(backends),
        _all(tenants),
        _all(keys),
        conformance,
        approvals,
        trust,
        verification,
        _all(publishers),
        file,
    )
    return _checked(config, file)


def _sockets(reader: TableReader, document: Mapping[str, object], option: Path | None) -> Sockets | None:
    sockets = reader.table(document, "sockets", "sockets")
    reader.known(sockets, ["sign", "admin"], "sockets")
    table = reader.table(sockets, "sign", "sockets.sign")
    sign = reader.struct(Socket, table if option is None else {**table, "path": str(option)}, "sockets.sign")
    admin = None
    if "admin" in sockets:
        admin = reader.struct(AdminSocket, reader.table(sockets, "admin", "sockets.admin"), "sockets.admin")
        if admin is not None and not admin.uids:
            admin = msgspec.structs.replace(admin, uids=(os.geteuid(),))
    return None if sign is None else Sockets(sign, admin)


def _plugin(reader: TableReader, name: str, table: Mapping[str, object]) -> Plugin | None:
    where = f"plugins.{quoted(name)}"
    pins = {key: table[key] for key in ("certificate", "version", "record") if key in table}
    settings = {key: value for key, value in table.items() if key not in pins}
    return reader.struct(Plugin, pins, where, name=name, settings=reader.settings(settings, where))


def _backend(reader: TableReader, name: str, table: Mapping[str, object]) -> Backend | None:
    where = f"backends.{quoted(name)}"
    reader.settings(reader.table(table, "settings", f"{where}.settings"), f"{where}.settings")
    return reader.struct(Backend, table, where, name=name)


def _publisher(reader: TableReader, name: str, table: Mapping[str, object]) -> Publisher | None:
    where = f"publishers.{quoted(name)}"
    reader.settings(reader.table(table, "settings", f"{where}.settings"), f"{where}.settings")
    return reader.struct(Publisher, table, where, name=name)


def _approvals(reader: TableReader, table: Mapping[str, object]) -> Approvals | None:
    made = _listed(reader, table, "approvers", "approvals", Approver)
    return None if made is None else reader.struct(Approvals, {**table, "approvers": made}, "approvals")


def _trust(reader: TableReader, table: Mapping[str, object]) -> Trust | None:
    kinds: Mapping[str, type[TrustedService]] = {
        "fulcio": TrustedAuthority,
        "ct_logs": TrustedLog,
        "rekor": TrustedRekor,
        "tsa": TrustedAuthority,
        "oidc": TrustedService,
    }
    made = {name: _listed(reader, table, name, "trust", kind) for name, kind in kinds.items()}
    if None in made.values():
        return None
    return reader.struct(Trust, {**table, **made}, "trust")


def _listed(
    reader: TableReader, table: Mapping[str, object], name: str, section: str, kind: type[S]
) -> tuple[S, ...] | None:
    """Read an array of tables; None where it is none."""
    where = f"{section}.{name}"
    listed = table.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        reader.problem(where, f"expected an array of tables [[{where}]]")
        return None
    return _all([reader.struct(kind, each, f"{where}[{index}]") for index, each in enumerate(listed)])


def _all(made: Sequence[S | None]) -> tuple[S, ...]:
    return tuple(each for each in made if each is not None)


def _tenant(reader: TableReader, name: str, table: Mapping[str, object], others: Collection[str]) -> Tenant | None:
    """Read a tenant; its one key that signs, and is none of ``others``, is the default."""
    tenant = reader.struct(Tenant, table, f"tenants.{quoted(name)}", name=name)
    if tenant is None or tenant.default_key:
        return tenant
    signing = [reference for reference in tenant.keys if reference not in others]
    return msgspec.structs.replace(tenant, default_key=signing[0]) if len(signing) == 1 else tenant


def _key(reader: TableReader, name: str, table: Mapping[str, object]) -> Key | None:
    return reader.struct(Key, table, f"keys.{quoted(name)}", key=name)


def _checked(config: Config, file: str) -> Config:
    problems = cross_problems(config)
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    return config


def check_user(config: Config) -> None:
    """Refuse (ConfigError) to go on as another user than ``[daemon] user`` names."""
    if not config.daemon.user:
        return
    file = config.source or "embedded defaults"
    try:
        wanted = pwd.getpwnam(config.daemon.user).pw_uid
    except KeyError:
        raise ConfigError(
            [f"{file}: daemon.user: expected a user of this host, got {config.daemon.user}"]
        ) from None
    if wanted != os.geteuid():
        raise ConfigError([f"{file}: daemon.user: expected to run as uid {wanted}, got uid {os.geteuid()}"])


def default_state(env: Mapping[str, str]) -> Path:
    """Return ``$STATE_DIRECTORY`` (systemd's, the first of several), ``$XDG_STATE_HOME/signerd`` or
    ``~/.local/state/signerd``.
    """
    given = env.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = env.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: relative paths in these variables are ignored.
    if home.startswith("/"):
        return Path(home) / "signerd"
    return Path(env.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir) / ".local" / "state" / "signerd"


def default_socket(env: Mapping[str, str]) -> Path:
    """Return ``$XDG_RUNTIME_DIR/signerd/sign.sock``, else a path in a fresh directory (0700), which this
    makes, and which goes with the process.
    """
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return Path(runtime) / "signerd" / "sign.sock"
    made = tempfile.mkdtemp(prefix="signerd-")
    atexit.register(_remove, made)
    return Path(made) / "sign.sock"


def _remove(directory: str) -> None:
    with contextlib.suppress(OSError):  # gone, or in use: somebody put something there
        os.rmdir(directory)


def settle_socket(config: Config, env: Mapping[str, str]) -> Config:
    """Return ``config`` with a path for each socket: its own, else for the sign socket :func:`default_socket`, which
    may make a directory, and for the admin socket ``admin.sock`` beside that.
    """
    sign, admin = config.sockets.sign, config.sockets.admin
    if not sign.path:
        sign = msgspec.structs.replace(sign, path=str(default_socket(env)))
    if admin is not None and not admin.path:
        admin = msgspec.structs.replace(admin, path=str(Path(sign.path).with_name("admin.sock")))
    if (sign, admin) == (config.sockets.sign, config.sockets.admin):
        return config
    return msgspec.structs.replace(config, sockets=Sockets(sign, admin))


def embedded(state: Path, socket: Path, releases: Sequence[str] = ()) -> Config:
    """Return the configuration without a file: callers of the own uid, tenant ``local``, one generated P-256
    key.

    ``releases`` are the digests whose tools count as genuine; they prove no version. Raises ConfigError where
    a path or digest is not as it would have to be in a file.
    """
    malformed = [digest for digest in releases if _DIGEST.fullmatch(digest) is None]
    if malformed:
        raise ConfigError(
            [
                f"embedded defaults: releases: expected sha256: and 64 hex digits, got {quoted(text)}"
                for text in malformed
            ]
        )
    plugins: dict[str, dict[str, object]] = {
        "auth-peercred": {},
        "entitlement-file": {},
        "release-allowlist": {"releases": [{"digest": digest} for digest in releases]},
        "predicates-intoto": {},
        "predicates-stella": {},
    }
    key = "file:default"
    config = Config(
        Daemon(str(state)),
        Sockets(Socket(str(socket))),
        Limits(),
        tuple(Plugin(name, "none", settings) for name, settings in plugins.items()),
        (Backend("file", "file", "none", {"directory": str(state / "keys")}),),
        (Tenant("local", (key,), key),),
        (Key(key, "file", "local", "ES256"),),
    )
    return _checked(config, "embedded defaults")


def encode(config: Config) -> bytes:
    """Return ``config`` as JSON, as one process hands it to another."""
    return msgspec.json.encode(config)


def decode(raw: bytes) -> Config:
    """Return the Config that :func:`encode` made; ConfigError for anything else."""
    try:
        return msgspec.json.decode(raw, type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigError([f"handed configuration: (message): {exc}"]) from exc
