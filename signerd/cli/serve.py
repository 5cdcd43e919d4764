"""``signerd serve``: run the daemon, by a file or on embedded defaults."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signerd.host.config_model import Config

__all__ = ["configuration", "register", "run"]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    command = commands.add_parser(
        "serve",
        help="run the daemon",
        description="Run the daemon in the foreground. The last line of start-up on stderr is "
        "'ready unix:PATH'; SIGTERM drains and ends it, SIGHUP reads the configuration again.",
    )
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML configuration; without it embedded defaults"
    )
    command.add_argument("--state", type=Path, metavar="DIR", help="state directory, before the file's")
    command.add_argument(
        "--socket", type=Path, metavar="PATH", help="path of the sign socket, before the file's"
    )
    command.add_argument(
        "--allow-release",
        action="extend",
        nargs="+",
        default=[],
        metavar="DIGEST",
        help="sha256:... of a tool whose content may be signed (embedded defaults only; may be repeated)",
    )
    command.set_defaults(run=run)


def configuration(args: argparse.Namespace) -> "Config":
    """Return the configuration that the arguments mean, its socket not yet settled; ConfigError otherwise."""
    from signerd.host.config import ConfigError, default_socket, default_state, embedded, load

    state = args.state.absolute() if args.state else None
    socket = args.socket.absolute() if args.socket else None
    if args.config is None:
        return embedded(
            state or default_state(os.environ), socket or default_socket(os.environ), args.allow_release
        )
    if args.allow_release:
        raise ConfigError(
            ["command line: --allow-release: expected without --config; the file has its own list"]
        )
    return load(args.config.absolute(), state=state, socket=socket)


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it is told to end, and return its exit code."""
    from signerd.host.config import check_user, settle_socket
    from signerd.host.distribution import LoadError

    config = configuration(args)
    check_user(config)
    config = settle_socket(config, os.environ)

    from signerd.daemon.main import serve

    try:
        return serve(config)
    except LoadError as exc:
        print(f"signerd: {config.source or 'embedded defaults'}: {exc}", file=sys.stderr)
        return 2
