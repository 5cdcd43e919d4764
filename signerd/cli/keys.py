"""``signerd keys``: the life of keys, on a running daemon or on a stopped one's state."""

import argparse
import datetime
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signerd.cli.plane import Plane
    from signerd.host.config_model import Config

__all__ = ["add_plane", "configuration", "milliseconds", "register", "run"]

_VERSIONS = ("key", "version", "status", "algorithm", "tenant", "added_at", "expires_at", "keyid")
_CHANGES = ("time", "change", "key", "version", "status", "by", "reason")
_READS = {
    "list": "every version of every key, of all tenants",
    "history": "what has happened to keys, oldest first, from the audit log",
    "publish": "write jwks.json, trusted_root.json and revocations.json",
}
_ORDERS = {
    "generate": "make a configured key that is not there yet",
    "rotate": "give a key a new version; the one before ends with the overlap",
    "suspend": "let a version sign no more for now; one admin can, at once",
    "resume": "lift a suspension",
    "revoke": "let a version never sign again, and tell verifiers why",
    "retire": "end a version that is not needed any more",
}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the command and of what it can do."""
    keys = commands.add_parser(
        "keys",
        help="list keys and change their state",
        description="List the versions of keys and change their state: through the admin socket of the daemon that"
        " runs, or, where none does, on its state directory.",
    )
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    reads = {name: actions.add_parser(name, help=text, description=text) for name, text in _READS.items()}
    listing, history, publish = reads["list"], reads["history"], reads["publish"]
    listing.add_argument("key", nargs="?", metavar="KEY", help="of this reference alone")
    history.add_argument("key", nargs="?", metavar="KEY", help="to this reference alone")
    publish.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to; made if it is missing")
    orders = {name: actions.add_parser(name, help=text, description=text) for name, text in _ORDERS.items()}
    for name, command in orders.items():
        command.add_argument("key", metavar="KEY", help="its reference in the configuration, such as file:default")
        command.add_argument("--reason", required=True, metavar="TEXT", help="why; it is recorded")
        command.add_argument("--approval", metavar="ID", help="the ceremony that approved this very order")
        if name in ("generate", "rotate"):
            command.add_argument("--algorithm", help="such as ES256; else as configured, or as before")
        else:
            command.add_argument("--version", type=int, metavar="N", help="which version; else the newest")
    orders["rotate"].add_argument("--handle", metavar="REF", help="what the backend calls a version that is there")
    orders["rotate"].add_argument("--overlap", type=int, metavar="S", help="seconds for what is decided already")
    causes = ["unspecified", "superseded", "compromised", "cessation"]
    orders["revoke"].add_argument("--cause", choices=causes, help="what verifiers go by (default: unspecified)")
    orders["revoke"].add_argument(
        "--invalid-since",
        type=milliseconds,
        metavar="TIME",
        help="with --cause compromised: RFC 3339; nothing that was signed from then on counts",
    )
    for command in (listing, history, publish, *orders.values()):
        add_plane(command)
        command.set_defaults(run=run)
    _register_enrolment(actions)


def _register_enrolment(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "have a FIDO2 authenticator make a credential (two touches), and print what to configure"
    command = actions.add_parser("enrol-fido2", help=text, description=text)
    names = "fido2:NAME, fido2:unwrap/NAME for a key that a touch unwraps, fido2:raw/NAME for one by previewSign"
    command.add_argument("key", metavar="KEY", help=names)
    command.add_argument("--algorithm", default="", help="FIDO2-ES256 or FIDO2-Ed25519; else what it has")
    command.add_argument("--backend", metavar="NAME", help="which backend; else the only one of the scheme fido2")
    _add_place(command)
    command.set_defaults(run=_enrol)


def add_plane(command: argparse.ArgumentParser) -> None:
    """Add the arguments that say whose admin plane it is, and how to print."""
    _add_place(command)
    command.add_argument("--socket", type=Path, metavar="PATH", help="the admin socket, before the file's")


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state", type=Path, metavar="DIR", help="state directory, before the file's")
    command.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration")
    command.add_argument(
        "--output", choices=["json", "table"], help="default: table on a terminal, json otherwise"
    )


def configuration(args: argparse.Namespace) -> "Config":
    """Return the configuration of the daemon that is meant, its admin socket's path settled where it can be."""
    import msgspec

    from signerd.host.config import default_state, embedded, load

    state = args.state.absolute() if args.state else None
    if args.config is None:
        return embedded(state or default_state(os.environ), Path("/run/signerd/sign.sock"))
    config = load(args.config.absolute(), state=state)
    admin = config.sockets.admin
    if admin is None or admin.path:
        return config
    # As the daemon settles it: beside the sign socket, whose own default is in the runtime directory.
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") / "signerd" / "sign.sock"
    beside = Path(config.sockets.sign.path or runtime).with_name("admin.sock")
    sockets = msgspec.structs.replace(config.sockets, admin=msgspec.structs.replace(admin, path=str(beside)))
    return msgspec.structs.replace(config, sockets=sockets)


def run(args: argparse.Namespace) -> int:
    """Run one action; ``approval.required`` also says how to go on."""
    from signerd.cli.plane import reach
    from signerd.errors import Refusal

    config = configuration(args)
    if args.action != "generate" and not Path(config.daemon.state).exists():
        raise Refusal("key.not_found", "no_state", f"there is no state directory at {config.daemon.state}")
    with reach(config, args.socket.absolute() if args.socket else None) as plane:
        try:
            return _act(args, plane)
        except Refusal as refusal:
            if ceremony := refusal.details.get("ceremony"):
                print(
                    f"signerd: ceremony {ceremony} waits for {refusal.details.get('needed')} approvals: each approver"
                    f" runs 'signerd approve {ceremony}', then repeat this command with --approval {ceremony}",
                    file=sys.stderr,
                )
            raise


def _act(args: argparse.Namespace, plane: "Plane") -> int:
    from signerd.cli.printing import show
    from signerd.wire import admin

    if args.action == "publish":
        return _publish(args, plane)
    if args.action == "list":
        return _list(args, plane)
    if args.action == "history":
        return _history(args, plane)
    kind = {"generate": admin.KeyGenerate, "rotate": admin.KeyRotate, "revoke": admin.KeyRevoke}.get(
        args.action, admin.VersionChange
    )
    given = {
        "algorithm": getattr(args, "algorithm", None),
        "handle": getattr(args, "handle", None),
        "overlap_s": getattr(args, "overlap", None),
        "version": getattr(args, "version", None),
        "cause": getattr(args, "cause", None),
        "invalid_since": getattr(args, "invalid_since", None),
        "approval_id": args.approval,
    }
    params = kind(args.key, args.reason, **{name: value for name, value in given.items() if value is not None})
    result, _ = plane.call(f"keys.{args.action}", params, admin.KeyVersions)
    show(args.output, result.keys, _VERSIONS)
    return 0


def _enrol(args: argparse.Namespace) -> int:
    import msgspec

    from signerd.cli.enrol import enrol, snippet

    def asking() -> None:
        print("signerd: touch the authenticator whenever it blinks: twice", file=sys.stderr)

    config = configuration(args)
    backend, made = enrol(config, args.key, args.backend, args.algorithm, asking)
    if (args.output or ("table" if sys.stdout.isatty() else "json")) == "json":
        told = {"key": args.key, "backend": backend, **msgspec.to_builtins(made)}
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        print(snippet(config, backend, args.key, made), end="")
    return 0


def _list(args: argparse.Namespace, plane: "Plane") -> int:
    from msgspec import UNSET

    from signerd.cli.printing import show
    from signerd.wire import admin

    rows: list[admin.KeyVersion] = []
    cursor: str | None = None
    while True:
        params = admin.KeysVersions(args.key or UNSET, cursor or UNSET)
        page, _ = plane.call("keys.versions", params, admin.KeyVersions)
        rows += page.keys
        if not (cursor := page.next or None):
            break
    show(args.output, rows, _VERSIONS)
    return _found(rows, args.key)


def _found(rows: "Sequence[object]", key: str | None) -> int:
    """Say so where there is nothing of the key that was asked for."""
    from signerd.errors import exit_code

    if rows or key is None:
        return 0
    print("signerd: the ring has no such key", file=sys.stderr)
    return exit_code("key.not_found")


def _history(args: argparse.Namespace, plane: "Plane") -> int:
    from msgspec import UNSET

    from signerd.cli.printing import show
    from signerd.wire import admin

    rows: list[admin.KeyChange] = []
    cursor: str | None = None
    while True:
        params = admin.KeyHistory(args.key or UNSET, cursor or UNSET)
        page, _ = plane.call("keys.history", params, admin.KeyChanges)
        rows += page.changes
        if not (cursor := page.next or None):
            break
    show(args.output, rows, _CHANGES)
    return _found(rows, args.key)


def _publish(args: argparse.Namespace, plane: "Plane") -> int:
    from signerd.cli.plane import fetched
    from signerd.cli.printing import write_whole
    from signerd.wire import admin
    from signerd.wire.params import NoParams

    result, fds = plane.call("keys.publish", NoParams(), admin.Published)
    try:
        documents = {f"{name}.json": fetched(getattr(result, name), fds) for name in result.__struct_fields__}
    finally:
        for fd in fds:
            os.close(fd)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, content in documents.items():
            write_whole(args.out / name, content)
            print(args.out / name)
    except OSError as exc:
        print(f"signerd: {args.out}: {exc.strerror}", file=sys.stderr)
        return 1
    return 0


def milliseconds(text: str) -> int:
    """Return the Unix milliseconds of an RFC 3339 time; ArgumentTypeError for another text, or one without a zone."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected a time such as 2026-01-31T12:00:00Z") from None
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError("expected a time with its zone, such as 2026-01-31T12:00:00Z")
    return int(time.timestamp() * 1000)
