"""``signerd-conformance check``: anybody's bundle, judged by the byte rules, one line a rule."""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.errors import SignerdError
from signerd.verification.bundle import printable
from signerd.verification.keys import PublicKey
from signerd_conformance import __version__
from signerd_conformance.check import RULES, check
from signerd_conformance.evidence import Evidence

__all__ = ["main"]

_LARGEST_KEY = 64 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 for usage or an unreadable file, 6 where a rule is broken."""
    options = _parser().parse_args(arguments)
    if options.list_rules:
        for rule in RULES:
            print(f"{rule.name:<18} {rule.source}")
        return 0
    if not options.bundle:
        print("signerd-conformance check: a BUNDLE is needed", file=sys.stderr)
        return 2
    try:
        key = _key(options.key) if options.key else None
        digests = _digests(options.subject) if options.subject else {}
        texts = [(path, _bounded(path, LARGEST_BUNDLE)) for path in options.bundle]
    except (OSError, SignerdError) as exc:
        print(f"signerd-conformance check: {printable(str(exc))}", file=sys.stderr)
        return 2
    broken = False
    for path, text in texts:
        if len(texts) > 1:
            print(f"# {printable(str(path))}")
        for finding in check(
            Evidence.read(text, key=key, digests=digests, strict=options.profile == "signerd")
        ):
            source = f"  [{finding.rule.source}]" if finding.status == "FAIL" else ""
            print(f"{finding.status:<4}  {finding.rule.name:<18}  {finding.seen}{source}")
            broken = broken or finding.status == "FAIL"
    return 6 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="signerd-conformance",
        description="Judge what signers and plugins made by the rules published for it.",
    )
    parser.add_argument("--version", action="version", version=f"signerd-conformance {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    judged = commands.add_parser(
        "check",
        help="judge Sigstore bundles by the byte rules",
        description="Judge Sigstore bundles: one line a rule, ok, FAIL or skip, its name, what was seen.",
        epilog="Exit codes: 0 no rule is broken, 2 usage or an unreadable file, 6 a rule is broken.",
    )
    judged.add_argument("bundle", nargs="*", type=Path, metavar="BUNDLE", help="a bundle file")
    judged.add_argument(
        "--subject", type=Path, metavar="FILE", help="the artefact that the bundles are about"
    )
    judged.add_argument("--key", type=Path, metavar="PEM", help="the public key that signed them")
    judged.add_argument(
        "--profile",
        choices=("interop", "signerd"),
        default="interop",
        help="interop: what every bundle must keep to (default); signerd: what signerd itself adds to that",
    )
    judged.add_argument("--list-rules", action="store_true", help="list every rule with its source, and exit")
    return parser


def _bounded(path: Path, most: int) -> bytes:
    """Read a file, one byte beyond ``most`` at the furthest: enough to see that it is too large."""
    with path.open("rb") as file:
        return file.read(most + 1)


def _key(path: Path) -> PublicKey:
    return PublicKey.from_pem(_bounded(path, _LARGEST_KEY))


def _digests(path: Path) -> dict[str, str]:
    hashes = [hashlib.sha256(), hashlib.sha384(), hashlib.sha512()]
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for one in hashes:
                one.update(piece)
    return {one.name: one.hexdigest() for one in hashes}
