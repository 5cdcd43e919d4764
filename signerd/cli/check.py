"""``signerd check``: say everything that ``serve`` would refuse, and start nothing."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from signerd.errors import SignerdError, exit_code

if TYPE_CHECKING:
    from signerd.host.config_model import Config

__all__ = ["problems", "register", "run"]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    command = commands.add_parser(
        "check",
        help="check a configuration",
        description="Print what serve would refuse, as 'file: key: expectation'. Starts nothing.",
    )
    command.add_argument("--config", type=Path, metavar="FILE", required=True, help="TOML configuration")
    command.add_argument("--state", type=Path, metavar="DIR", help="state directory, before the file's")
    command.add_argument(
        "--socket", type=Path, metavar="PATH", help="path of the sign socket, before the file's"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the problems; 0 where there is none, else 2."""
    from signerd.host.config import ConfigError, load

    try:
        config = load(
            args.config.absolute(),
            state=args.state and args.state.absolute(),
            socket=args.socket and args.socket.absolute(),
        )
        found = list(problems(config))
    except ConfigError as exc:
        found = list(exc.problems)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"{args.config}: ok", file=sys.stderr)
    return exit_code("request.malformed") if found else 0


def problems(config: "Config") -> Iterator[str]:
    """Yield what of ``config`` this host does not fit: user, state directory, plugins and their settings, the files of
    trust."""
    from signerd.host.config import ConfigError, check_user
    from signerd.host.trust_files import read_against, read_parts
    from signerd.sealer.lock import check_state

    for look in (check_user, read_against, read_parts):
        try:
            look(config)
        except ConfigError as exc:
            yield from exc.problems
    try:
        check_state(Path(config.daemon.state))
    except SignerdError as exc:
        yield f"{config.source}: daemon.state: {exc}"
    yield from _trust(config)
    yield from _plugins(config)


def _trust(config: "Config") -> Iterator[str]:
    """Read what keyless keys are trusted by, as the sealer would."""
    from signerd.host.config import ConfigError
    from signerd.host.keyless_trust import read_trust

    for key in config.keys:
        if key.keyless is not None:
            try:
                read_trust(key.key, key.keyless)
            except ConfigError as exc:
                yield from exc.problems


def _credential(where: str, credential: str) -> Iterator[str]:
    """Read the credential of a worker at a socket path; systemd's are not there outside of the service."""
    from signerd.host.credential import read_credential

    if not credential.startswith("/"):
        return
    try:
        read_credential(credential)
    except SignerdError as exc:
        yield f"{where}.credential: {exc}"


def _plugins(config: "Config") -> Iterator[str]:
    """Load the policy plugins as the front end would; of key backends and publishers look at the metadata alone, as the
    sealer would.
    """
    from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PUBLISHERS_GROUP
    from signerd.host.distribution import LoadError
    from signerd.host.load import PluginEntry, load_policy_plugins, worker_entry

    development, certifiers = config.daemon.development, config.conformance.certifiers
    entries = {
        p.name: PluginEntry(p.settings, p.version, p.record, p.certificate, certifiers) for p in config.plugins
    }
    try:
        load_policy_plugins(entries, development=development)
    except LoadError as exc:
        yield f"{config.source}: plugins: {exc}"
    wanted = [
        (f"publishers.{p.name}", PUBLISHERS_GROUP, p.plugin, p.certificate, p.version, p.record)
        for p in config.publishers
    ]
    for backend in config.backends:
        where = f"backends.{backend.name}"
        if backend.socket:
            yield from _credential(f"{config.source}: {where}", backend.credential)
        else:
            pins = (backend.certificate, backend.version, backend.record)
            wanted.append((where, KEY_BACKENDS_GROUP, backend.scheme, *pins))
    for where, group, name, certificate, *pinned in wanted:
        try:
            found = worker_entry(
                group, name, development=development, certificate=certificate, certifiers=certifiers
            )
        except LoadError as exc:
            yield f"{config.source}: {where}: {exc}"
            continue
        there = (found.version, found.record_sha256)
        for pin, expected, installed in zip(("version", "record"), pinned, there, strict=True):
            if expected is not None and expected != installed:
                there_is = installed or "(editable)"
                yield f"{config.source}: {where}.{pin}: expected the installed {there_is}, got {expected}"
