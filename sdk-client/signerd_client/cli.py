"""The command ``signerctl``: arguments, and from there to one module of :mod:`signerd_client.commands` a
command.

Nothing but argparse is imported before a command is known: this is run in loops and from other programs.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from signerd_client import __version__

__all__ = ["main", "parser"]

_INTERRUPTED = 130  # 128 and SIGINT, as a shell has it

_OPTIONS = {
    ("key.forbidden", "ephemeral"): "--transparency or --timestamp asks for one",
    ("release.untrusted", "digest_missing"): "--release names it",
}
"""What to add to the command line, where a refusal by the daemon says what the request lacks."""

_EPILOG = """\
The socket: --socket, else $SIGNERD_SOCKET, else $XDG_RUNTIME_DIR/signerd/sign.sock, else
/run/signerd/sign.sock. Exit codes: 0 done; 1 failed; 2 not valid; 3 not allowed; 4 not found; 6 does not
verify; 10 trying again can help.
"""

_Commands = argparse._SubParsersAction  # what add_subparsers returns has no public name


def _connection(absent: object, outputs: Sequence[str] = ("json", "table")) -> argparse.ArgumentParser:
    """Return the options that stand before or after the command; ``absent`` is what one not given sets."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--socket", metavar="PATH", default=absent, help="the daemon's socket")
    options.add_argument(
        "--server-uid",
        metavar="UID",
        type=int,
        default=absent,
        help="a user beside root and yourself whom the daemon may run as",
    )
    options.add_argument(
        "--deadline", metavar="SECONDS", type=float, default=absent, help="how long the daemon may take"
    )
    options.add_argument(
        "--output",
        choices=outputs,
        default=absent,
        help="how to print; json where stdout is no terminal" if "table" in outputs else "how to print; hex by default",
    )
    return options


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; ``command`` of what it parses names the module to run."""
    top = argparse.ArgumentParser(
        prog="signerctl",
        description="Ask signerd for signatures, and verify them.",
        epilog=_EPILOG,
        parents=[_connection(None)],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"signerctl {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    options = _connection(argparse.SUPPRESS)
    _add_sign(commands, options)
    _add_verify(commands, options)
    keys = _add(commands, "keys", [options], "public halves, validity, how to verify")
    keys.add_argument("ref", nargs="?", metavar="REF", help="key reference or keyid; all keys without one")
    keys.add_argument("--public", metavar="FILE", help="write the public key there, as PEM")
    _add_hash(commands, options)
    _add_hmac(commands)
    later = _add(commands, "transparency", [], "entries that come after the answer").add_subparsers(
        dest="kind", required=True, metavar="KIND"
    )
    entry = _add(later, "entry", [options], "what came of a record signed with --transparency async")
    entry.add_argument("audit_id", metavar="AUDIT_ID", help="the receipt's audit_id")
    entry.add_argument("--out", metavar="FILE", help="where the whole bundle goes; a directory for several")
    entry.add_argument(
        "--bundle", metavar="FILE", help="the bundle as it was answered: one of more than 1 MiB is not kept elsewhere"
    )
    _add(commands, "info", [options], "what runs, what it takes, whom it takes you for")
    return top


def _add(
    commands: "_Commands[argparse.ArgumentParser]",
    name: str,
    parents: list[argparse.ArgumentParser],
    text: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(name, parents=parents, help=text, description=text, allow_abbrev=False)


def _signing() -> argparse.ArgumentParser:
    """Return the options of everything that signs."""
    signing = argparse.ArgumentParser(add_help=False)
    signing.add_argument("--release", metavar="DIGEST", help="sha256:… of the tool that made the content")
    signing.add_argument(
        "--key", metavar="REF", action="append", default=[], help="key to sign with; may be repeated"
    )
    signing.add_argument(
        "--mode",
        choices=("auto", "keyful", "keyless"),
        help="by a lasting key or by a certificate for an identity; auto, the default: whatever the key is",
    )
    signing.add_argument(
        "--identity-token",
        metavar="FILE",
        help="the OIDC token in whose name keyless keys sign; - reads it from stdin. Never an argument itself",
    )
    signing.add_argument(
        "--transparency",
        choices=("none", "async", "required"),
        help="have signatures logged, before the answer or after it; default: the tenant's",
    )
    signing.add_argument(
        "--profile",
        choices=("cosign", "dsse", "cose"),
        help="bundles for cosign, the default; one envelope with all signatures and a bundle of an ES256 key; or a "
        "COSE_Sign1 message each",
    )
    signing.add_argument(
        "--timestamp", action="store_true", help="have signatures stamped by a timestamp authority (RFC 3161)"
    )
    return signing


def _touching() -> argparse.ArgumentParser:
    """Return the options of what somebody may have to touch an authenticator for."""
    touching = argparse.ArgumentParser(add_help=False)
    touching.add_argument(
        "--wait", action="store_true", help="where somebody must touch an authenticator: say so, and wait for it"
    )
    touching.add_argument(
        "--approval", metavar="ID", help="repeat a request that got this approval id: it signs once the key is touched"
    )
    return touching


def _add_sign(commands: "_Commands[argparse.ArgumentParser]", options: argparse.ArgumentParser) -> None:
    kinds = _add(commands, "sign", [], "have a statement signed").add_subparsers(
        dest="kind", required=True, metavar="KIND"
    )
    signing = _signing()
    single = argparse.ArgumentParser(add_help=False)
    single.add_argument(
        "--subject",
        metavar="FILE[:NAME]",
        action="append",
        required=True,
        help="what the statement is about; may be repeated; NAME defaults to the base name",
    )
    single.add_argument(
        "--out", metavar="FILE", help="where the bundle or message goes, else stdout; a directory for several"
    )
    single.add_argument(
        "--envelope", metavar="FILE", help="where the envelope with all signatures goes; needed with --profile dsse"
    )
    single.add_argument("--receipt", metavar="FILE", help="write the receipt there")
    touching = _touching()
    parents = [options, signing, single, touching]
    statement = _add(kinds, "statement", parents, "a predicate of any catalogued type")
    statement.add_argument("--type", metavar="TYPE", required=True, help="URI or short name of the predicate")
    statement.add_argument("--predicate", dest="document", metavar="FILE", required=True, help="its JSON")
    for kind, text in (
        ("sbom", "a CycloneDX or SPDX document"),
        ("vex", "an OpenVEX document"),
        ("report", "a report with its policy"),
    ):
        typed = _add(kinds, kind, parents, text)
        typed.add_argument("document", metavar="FILE", help=f"{text}, JSON")
    _add_payload(kinds, [options, signing, touching])
    batch = _add(kinds, "batch", [options, signing], "many, an outcome for each")
    batch.add_argument(
        "document",
        metavar="FILE.ndjson",
        help='a line each: {"subject": ["FILE[:NAME]" or {"name", "digest"}], "type", "predicate" or '
        '"predicate_file", "release"?, "keys"?}',
    )


def _add_payload(
    kinds: "_Commands[argparse.ArgumentParser]", parents: list[argparse.ArgumentParser]
) -> None:
    payload = _add(kinds, "payload", parents, "a document itself and no statement about it: one envelope")
    payload.add_argument("document", metavar="FILE", help="the document, JSON")
    payload.add_argument(
        "--payload-type", metavar="TYPE", required=True, help="media type, one of the signer's catalogue"
    )
    payload.add_argument(
        "--subject",
        metavar="FILE[:NAME]",
        action="append",
        default=[],
        help="what the record names; may be repeated; without one the document itself",
    )
    payload.add_argument("--out", metavar="FILE", help="where the envelope goes, else stdout")
    payload.add_argument("--receipt", metavar="FILE", help="write the receipt there")


def _add_verify(commands: "_Commands[argparse.ArgumentParser]", options: argparse.ArgumentParser) -> None:
    verify = _add(commands, "verify", [options], "verify a bundle; opens no socket, whatever the options")
    verify.add_argument(
        "bundle",
        metavar="BUNDLE",
        nargs="+",
        help="a Sigstore bundle, or by --key a DSSE envelope or a COSE_Sign1 message; several bundles with --policy "
        "alone",
    )
    verify.add_argument("--subject", metavar="FILE", help="what it must be about")
    verify.add_argument(
        "--key",
        metavar="PEM",
        action="append",
        default=[],
        help="file with the public key that must have signed (of an envelope each of several); with --policy, one that "
        "its fingerprints may name",
    )
    verify.add_argument(
        "--certificate-identity", metavar="ID", help="the name that the signing certificate must have"
    )
    verify.add_argument(
        "--certificate-oidc-issuer", metavar="URL", help="who must have vouched for that name"
    )
    verify.add_argument(
        "--trusted-root",
        metavar="FILE",
        help="the authorities and logs that are believed; with --key a log entry is then needed",
    )
    verify.add_argument(
        "--published",
        metavar="DIR",
        help="with --key: refuse a key that had ended, by what 'signerd keys publish' wrote there",
    )
    verify.add_argument("--policy", metavar="FILE", help="a verification policy, in place of key or identity")
    verify.add_argument("--type", metavar="TYPE", help="predicate type that it must have")
    verify.add_argument(
        "--payload-type", metavar="TYPE", help="of an envelope over a document signed bare: the type that it must have"
    )
    verify.add_argument(
        "--offline", action="store_true", help="accepted for what asks for it: no network is ever used"
    )


def _add_hash(commands: "_Commands[argparse.ArgumentParser]", options: argparse.ArgumentParser) -> None:
    hashing = _add(commands, "hash", [options], "digests by the hash that a profile has for a purpose; opens no socket")
    hashing.add_argument("file", metavar="FILE", nargs="+", help="what to hash; - is stdin")
    hashing.add_argument(
        "--purpose",
        required=True,
        choices=("graph", "symbol", "content", "merkle", "attestation", "interop", "secret"),
        help="what the digest is for",
    )
    hashing.add_argument(
        "--profile", default="world", help="the tenant's compliance profile, as 'signerctl keys KEY' shows it"
    )


def _add_hmac(commands: "_Commands[argparse.ArgumentParser]") -> None:
    kinds = _add(commands, "hmac", [], "have a MAC made or compared").add_subparsers(
        dest="kind", required=True, metavar="KIND"
    )
    key = argparse.ArgumentParser(add_help=False)
    key.add_argument(
        "--purpose",
        choices=("signing", "authentication", "webhook-interop"),
        required=True,
        help="what the MAC is for; the key must be for that too",
    )
    key.add_argument("--key", metavar="REF", required=True, help="key reference; to verify, a keyid too")
    key.add_argument("document", metavar="FILE", help="what the MAC is over: a regular file of any size")
    made = _connection(argparse.SUPPRESS, ("hex", "base64", "raw", "json"))
    _add(kinds, "compute", [made, key], "make the MAC of a file")
    verify = _add(kinds, "verify", [_connection(argparse.SUPPRESS), key], "compare; exit code 6 where it is another")
    mac = verify.add_mutually_exclusive_group(required=True)
    mac.add_argument("--mac", metavar="HEX", help="the MAC to compare with")
    mac.add_argument("--mac-base64", metavar="TEXT", help="the same in base64")
    mac.add_argument("--mac-file", metavar="FILE", help="a file that holds its bytes and nothing else")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are a line on stderr, escaped."""
    try:
        parsed = parser().parse_args(arguments)
    except SystemExit as ended:
        # argparse's own codes: 0 after --help and --version, 2 for usage.
        return ended.code if isinstance(ended.code, int) else 2
    if parsed.output is None:
        parsed.output_given = False
        parsed.output = "table" if sys.stdout.isatty() else "json"
    else:
        parsed.output_given = True
    try:
        return _run(parsed)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has gone; nothing may be written there at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(parsed: argparse.Namespace) -> int:
    from importlib import import_module

    from signerd.errors import SignerdError, exit_code
    from signerd_client.output import note

    kind = getattr(parsed, "kind", None)
    name = kind if kind in ("batch", "payload") else parsed.command
    try:
        code: int = import_module(f"signerd_client.commands.{name}").run(parsed)
    except SignerdError as error:
        note(f"signerctl: {error}")
        if (error.code, error.reason) in _OPTIONS:
            note(f"signerctl: {_OPTIONS[error.code, error.reason]}")
        return exit_code(error.code)
    return code
