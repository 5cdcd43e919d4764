"""``signerd audit``: read the record from its files, beside a running daemon or a dead one."""

import argparse
import os
import sys
from pathlib import Path

from signerd.errors import exit_code

__all__ = ["query", "register"]


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the command and of what it can do."""
    audit = commands.add_parser(
        "audit", help="read the audit log", description="Read the audit log from its files."
    )
    actions = audit.add_subparsers(dest="action", metavar="ACTION", required=True)
    command = actions.add_parser(
        "query",
        help="print leaves",
        description="Print leaves as they were written, one a line, oldest first; exit with 4 if none.",
    )
    command.add_argument("--state", type=Path, metavar="DIR", help="state directory, before the file's")
    command.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration")
    command.add_argument("--id", metavar="AUDIT_ID", help="the leaves of this record")
    command.add_argument("--tenant", help="leaves of this tenant alone")
    for name in ("kind", "outcome", "code"):
        command.add_argument(f"--{name}", help=f"leaves of this {name} alone")
    command.add_argument("--cursor", type=_whole, default=0, metavar="INDEX", help="begin at this leaf")
    command.add_argument(
        "--limit", type=_positive, default=200, metavar="N", help="at most so many leaves (default 200)"
    )
    command.set_defaults(run=query)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 2**63):
        raise argparse.ArgumentTypeError("expected a whole number")
    return int(text)


def _positive(text: str) -> int:
    if not (value := _whole(text)):
        raise argparse.ArgumentTypeError("expected a whole number above 0")
    return value


def query(args: argparse.Namespace) -> int:
    """Print what matches; where more follows, stderr says at which cursor. ``audit.unavailable`` for a broken
    log.
    """
    from signerd.host.config import default_state, load
    from signerd.sealer.audit import FILE_NAME, MOST_ROWS, AuditReader

    state = args.state or default_state(os.environ)
    if args.config is not None:
        state = Path(load(args.config.absolute(), state=args.state and args.state.absolute()).daemon.state)
    path = state.absolute() / FILE_NAME
    none = exit_code("key.not_found")
    if not path.exists():
        print(f"signerd: there is no audit log at {path}", file=sys.stderr)
        return none
    wanted = {"audit_id": args.id, "kind": args.kind, "outcome": args.outcome, "code": args.code}
    filters = {name: value for name, value in wanted.items() if value is not None}
    reader = AuditReader(path)
    left, cursor, printed = args.limit, args.cursor, 0
    try:
        while left:
            page = reader.read(args.tenant, filters, cursor, min(left, MOST_ROWS))
            for record in page.records:
                sys.stdout.buffer.write(record + b"\n")
            printed += len(page.records)
            left -= len(page.records)
            cursor = page.next
            if not cursor:
                break
    finally:
        reader.close()
    sys.stdout.flush()
    if cursor:
        print(f"signerd: more follows: --cursor {cursor}", file=sys.stderr)
    if not printed:
        print("signerd: no leaf matches", file=sys.stderr)
    return 0 if printed else none
