"""``signerd trust``: make the files of trust of their parts."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from signerd.errors import Refusal

__all__ = ["build", "register"]

ROOT_NAME = "trusted_root.json"
CONFIG_NAME = "signing_config.json"


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the command and of what it can do."""
    trust = commands.add_parser(
        "trust", help="make the files of trust", description="Make the files of trust of their parts."
    )
    actions = trust.add_subparsers(dest="action", metavar="ACTION", required=True)
    command = actions.add_parser(
        "build",
        help="make trusted root and signing config",
        description=f"Make {ROOT_NAME} and {CONFIG_NAME} of the parts under [trust]. Same parts, same bytes.",
    )
    command.add_argument("--config", type=Path, metavar="FILE", required=True, help="TOML configuration")
    command.add_argument("--out", type=Path, metavar="DIR", required=True, help="where to; made if missing")
    command.set_defaults(run=build)


def build(args: argparse.Namespace) -> int:
    """Write both files, each whole or not at all; 0 where both are written. Refuses (exit code 2) where a part cannot
    be used, where there is none, or where the files cannot be written."""
    from signerd.host.config import load
    from signerd.host.trust_files import read_parts
    from signerd.verification.trust_parts import signing_config, trusted_root
    from signerd.verification.trusted_root import parse_trusted_root

    config = load(args.config.absolute())
    parts = read_parts(config)
    if not (parts.fulcio or parts.ct_logs or parts.rekor or parts.tsa):
        raise Refusal("request.malformed", "trust_empty", f"{args.config}: trust: expected at least one part")
    try:
        root, config_text = trusted_root(parts), signing_config(parts)
        # What our own verifier would not read is not handed out.
        parse_trusted_root(root)
    except Refusal as refusal:
        raise Refusal("request.malformed", refusal.reason, f"{args.config}: trust: {refusal.public}") from refusal
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, text in ((ROOT_NAME, root), (CONFIG_NAME, config_text)):
            _write(args.out / name, text)
            print(f"wrote {args.out / name}", file=sys.stderr)
    except OSError as exc:
        raise Refusal("request.malformed", "unwritable", f"{args.out}: {exc.strerror}") from exc
    return 0


def _write(path: Path, text: bytes) -> None:
    """Put ``text`` in the file's place, whole: who reads meanwhile or after a crash has one or the other."""
    fd, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fchmod(fd, 0o644)
            os.fsync(fd)
        os.replace(made, path)
    except BaseException:
        os.unlink(made)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
