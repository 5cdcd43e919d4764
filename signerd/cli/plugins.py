"""``signerd plugins``: what is installed, and what of it the configuration lets in."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

__all__ = ["listing", "register", "run"]

_COLUMNS: Final = ("name", "kind", "distribution", "version", "api", "allowed", "digest", "problem")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    command = commands.add_parser(
        "plugins",
        help="list plugins",
        description="List the installed plugins: API version, SHA-256 of the RECORD, whether the "
        "configuration (without --config the embedded defaults) lets them in, and what stands against it. "
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
    rows = listing(
        {plugin.name for plugin in config.plugins},
        {backend.scheme for backend in config.backends},
        development=config.daemon.development,
    )
    output = args.output or ("table" if sys.stdout.isatty() else "json")
    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        _print_table(rows)
    return 0


def listing(plugins: set[str], schemes: set[str], *, development: bool) -> list[dict[str, Any]]:
    """Return a row for each installed plugin, sorted; ``plugins`` and ``schemes`` are those that are let in.

    What is let in but not installed has a row too, with the problem.
    """
    from importlib.metadata import entry_points

    from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP, PUBLISHERS_GROUP

    rows = []
    for kind, group, allowed in (
        ("policy", PLUGINS_GROUP, plugins),
        ("publisher", PUBLISHERS_GROUP, plugins),
        ("key backend", KEY_BACKENDS_GROUP, schemes),
    ):
        names = {entry.name for entry in entry_points(group=group)}
        if kind != "publisher":
            names |= allowed
        rows += [_row(name, kind, group, name in allowed, development) for name in sorted(names)]
    return rows


def _row(name: str, kind: str, group: str, allowed: bool, development: bool) -> dict[str, Any]:
    from signerd.host.distribution import LoadError, find_entry, verify

    row: dict[str, Any] = {"name": name, "kind": kind, "api": group.rpartition(".")[2], "allowed": allowed}
    try:
        entry = find_entry(group, name)
        if entry.dist is not None:
            row |= {"distribution": entry.dist.name, "version": entry.dist.version}
        digest = verify(entry, development=development).record_sha256
        row["digest"] = f"sha256:{digest}" if digest else "editable"
    except LoadError as exc:
        row["problem"] = exc.expectation
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
