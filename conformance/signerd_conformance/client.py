"""``signerd-conformance-client``: the client protocol of sigstore-conformance, served by ``signerd.verification``.

Source: ``sigstore-conformance/docs/cli_protocol.md``. The exit code decides: 0 verified, 6 not, 2 usage. Without
``--trusted-root`` the roots of the public Sigstore instances hold that the installed sigstore-python brings: they age
with that package and not with this one. Nothing is fetched, and no line of it is imported.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.errors import Refusal, exit_code
from signerd.verification.bundle import Verification, printable, verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.keys import PublicKey
from signerd.verification.trusted_root import LARGEST_TRUSTED_ROOT, TrustedRoot, parse_trusted_root

__all__ = ["main"]

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_LARGEST_KEY: Final = 64 * 1024
_UNSIGNED: Final = (
    "no file is signed unseen; a daemon signs Statements, by signerctl sign --mode keyless --identity-token FILE"
)

_NO_ROOT: Final = "--trusted-root FILE is needed: no sigstore-python is here whose public roots could be taken"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command of the protocol and return its exit code; the reason goes to stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "verify-bundle":
        identity = (options.certificate_identity, options.certificate_oidc_issuer)
        if (None in identity) if options.key is None else (identity != (None, None)):
            parser.error("--key, or --certificate-identity with --certificate-oidc-issuer, is needed")
    try:
        if options.command == "sign-bundle":
            raise Refusal("request.unsupported", "keyless_not_served", _UNSIGNED)
        verification = _verify(options)
    except OSError as exc:
        print(f"signerd-conformance-client: {printable(str(exc))}", file=sys.stderr)
        return 2
    except Refusal as refusal:
        print(f"signerd-conformance-client: {printable(str(refusal))}", file=sys.stderr)
        return exit_code(refusal.code)
    failure = verification.failure
    if failure is not None:
        print(f"does not verify: {failure.name} ({failure.reason}): {failure.detail}", file=sys.stderr)
        return exit_code("verification.failed")
    return 0


def _verify(options: argparse.Namespace) -> Verification:
    named = _DIGEST.fullmatch(options.artifact)
    content = None if named else Path(options.artifact).read_bytes()
    signer: PublicKey | Identity
    if options.key is not None:
        signer = PublicKey.from_pem(_bounded(options.key, _LARGEST_KEY))
    else:
        signer = Identity(options.certificate_identity, options.certificate_oidc_issuer)
    return verify_bundle(
        _bounded(options.bundle, LARGEST_BUNDLE),
        signer,
        artifact_sha256=named[1] if named else None,
        artifact=content,
        trusted_root=_root(options),
    )


def _root(options: argparse.Namespace) -> TrustedRoot:
    if options.trusted_root is not None:
        return parse_trusted_root(_bounded(options.trusted_root, LARGEST_TRUSTED_ROOT))
    host = "tuf-repo-cdn.sigstage.dev" if options.staging else "tuf-repo-cdn.sigstore.dev"
    try:
        held = distribution("sigstore").locate_file(f"sigstore/_store/https%3A%2F%2F{host}/trusted_root.json")
        return parse_trusted_root(_bounded(Path(str(held)), LARGEST_TRUSTED_ROOT))
    except (PackageNotFoundError, FileNotFoundError):
        raise Refusal("request.malformed", "no_trusted_root", _NO_ROOT) from None


def _bounded(path: Path, limit: int) -> bytes:
    """Read no more than one byte over the limit, which the reader of the bytes then refuses."""
    with path.open("rb") as file:
        return file.read(limit + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="signerd-conformance-client", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--staging", action="store_true", help="the staging instance in place of production")
    shared.add_argument("--bundle", metavar="FILE", type=Path, required=True)
    shared.add_argument("--trusted-root", metavar="FILE", type=Path)
    sign = commands.add_parser("sign-bundle", parents=[shared], help="refused: nothing is signed unseen")
    sign.add_argument("--in-toto", action="store_true")
    sign.add_argument("--identity-token", metavar="TOKEN", required=True)
    sign.add_argument("--signing-config", metavar="FILE", type=Path)
    sign.add_argument("artifact", metavar="FILE")
    verify = commands.add_parser("verify-bundle", parents=[shared], help="verify a bundle")
    verify.add_argument("--certificate-identity", metavar="ID")
    verify.add_argument("--certificate-oidc-issuer", metavar="URL")
    verify.add_argument("--key", metavar="PEM", type=Path)
    verify.add_argument("artifact", metavar="FILE_OR_DIGEST")
    return parser
