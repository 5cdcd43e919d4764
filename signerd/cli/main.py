"""The command line of the daemon: finds the command, runs it, and turns what it raises into an exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from signerd import __version__
from signerd.cli import admin, approve, audit, check, keys, plugins, serve, trust
from signerd.errors import SignerdError, exit_code

__all__ = ["main", "parser"]

_EXIT_CODES: Final = (
    "exit codes: 0 ok, 1 generic, 2 validation, 3 authentication or authorisation, 4 not found, "
    "6 verification failed, 10 trying again can help"
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. The commands' modules import what they need only when they run."""
    made = argparse.ArgumentParser(
        prog="signerd",
        description="A signing daemon for one host, and its operator's commands.",
        epilog=_EXIT_CODES,
    )
    made.add_argument("--version", action="version", version=f"signerd {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (serve, check, plugins, keys, approve, admin, trust, audit):
        module.register(commands)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (features: Command line); usage errors exit with 2 by
    themselves.
    """
    args = parser().parse_args(arguments)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except SignerdError as exc:
        from signerd.cli.printing import cell

        field = exc.details.get("field")
        print(f"signerd: {exc}" + (f": {cell(field)}" if field else ""), file=sys.stderr)
        return exit_code(exc.code)
    except BrokenPipeError:
        # Whoever read the output has gone. Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
