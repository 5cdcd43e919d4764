"""``signerd plugins``: what is installed, and what of it the configuration lets in."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["listing", "register", "run"]

_COLUMNS: Final = ("name", "kind", "distribution", "version", "api", "allowed", "digest", "certificate", "problem")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    command = commands.add_parser(
        "plugins",
        help="list plugins",
        description="List the installed plugins: API version, SHA-256 of the RECORD, whether the "
        "configuration (without --config the embedded defaults) lets them in, who certified their conformance with "
        "which kit and when, and what stands against them. "
        "No plugin is imported.",
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="TOML configuration")
    command.add_argument(
        "--output", choices=("json", "table"), help="json (default when stdout is no terminal) or table"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the list: a JSON array of objects, or a table."""
    import msgspec

    from signerd.host.config import embedded, load

    config = load(args.config.absolute()) if args.config else embedded(Path("/"), Path("/sign.sock"))
    schemes: dict[str, list[str]] = {}
    for backend in config.backends:
        if backend.socket:
            continue  # its code is that service's affair
        schemes.setdefault(backend.scheme, []).append(backend.certificate)
    publishers: dict[str, list[str]] = {}
    for publisher in config.publishers:
        publishers.setdefault(publisher.plugin, []).append(publisher.certificate)
    rows = listing(
        {plugin.name: [plugin.certificate] for plugin in config.plugins},
        schemes,
        publishers,
        config.conformance.certifiers,
        development=config.daemon.development,
    )
    output = args.output or ("table" if sys.stdout.isatty() else "json")
    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        _print_table(rows)
    return 0


def listing(
    plugins: Mapping[str, Sequence[str]],
    schemes: Mapping[str, Sequence[str]],
    publishers: Mapping[str, Sequence[str]],
    certifiers: Sequence[str] = (),
    *,
    development: bool,
) -> list[dict[str, Any]]:
    """Return a row for each installed plugin, sorted; ``plugins``, ``schemes`` and ``publishers`` are
    those that are let in, each with what its entries say of a certificate.

    What is let in but not installed has a row too, with the problem.
    """
    from importlib.metadata import entry_points

    from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP, PUBLISHERS_GROUP

    rows = []
    for kind, group, allowed in (
        ("policy", PLUGINS_GROUP, plugins),
        ("publisher", PUBLISHERS_GROUP, publishers),
        ("key backend", KEY_BACKENDS_GROUP, schemes),
    ):
        names = {entry.name for entry in entry_points(group=group)} | allowed.keys()
        for name in sorted(names):
            row = {"name": name, "kind": kind, "api": group.rpartition(".")[2], "allowed": name in allowed}
            rows.append(row | _found(name, group, allowed.get(name, ()), certifiers, development))
    return rows


def _found(
    name: str, group: str, certificates: Sequence[str], certifiers: Sequence[str], development: bool
) -> dict[str, Any]:
    from signerd.host.certificate import check_certificate
    from signerd.host.distribution import LoadError, find_entry, verify

    row: dict[str, Any] = {}
    try:
        entry = find_entry(group, name)
        if entry.dist is not None:
            row |= {"distribution": entry.dist.name, "version": entry.dist.version}
        dist = verify(entry, development=development)
        row["digest"] = "editable" if dist.editable else f"sha256:{dist.record_sha256}"
        held = [check_certificate(name, path, certifiers, group, dist) for path in dict.fromkeys(certificates)]
        told = ["none" if one is None else f"{one.certifier} {one.kit} {one.finished[:10]}" for one in held]
        if told:
            row["certificate"] = "; ".join(told)
    except LoadError as exc:
        row["problem"] = exc.expectation if exc.file is None else f"{exc.file}: {exc.expectation}"
    return row


def _print_table(rows: list[dict[str, Any]]) -> None:
    texts = [[_text(row.get(column, "")) for column in _COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *texts, strict=True)]
    for line in (_COLUMNS, *texts):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Names come from other people's packages: nothing in them may drive the terminal.
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in str(value))
