"""``signerd-conformance-client``: the client protocol of sigstore-conformance, served by ``signerd.verification`` and,
for what is signed, by a daemon that it starts.

Source: ``sigstore-conformance/docs/cli_protocol.md``. The exit code decides: 0 done or verified, 6 not verified, 2
usage, else as the daemon's error codes have it. Without ``--trusted-root`` and ``--signing-config`` the files of the
public Sigstore instances hold that the installed sigstore-python brings: they age with that package and not with this
one. Nothing of them is fetched.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.errors import SignerdError, exit_code
from signerd.verification.bundle import Verification, printable, verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.keys import PublicKey
from signerd_conformance.public_instance import bounded, root_of

__all__ = ["main"]

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_LARGEST_KEY: Final = 64 * 1024


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
            _sign(options)
            return 0
        verification = _verify(options)
    except OSError as exc:
        print(f"signerd-conformance-client: {printable(str(exc))}", file=sys.stderr)
        return 2
    except SignerdError as error:
        print(f"signerd-conformance-client: {printable(str(error))}", file=sys.stderr)
        return exit_code(error.code)
    failure = verification.failure
    if failure is not None:
        print(f"does not verify: {failure.name} ({failure.reason}): {failure.detail}", file=sys.stderr)
        return exit_code("verification.failed")
    return 0


def _sign(options: argparse.Namespace) -> None:
    # Imported where it is used: who verifies alone needs nothing of it.
    from signerd_conformance.sign_bundle import sign_bundle

    sign_bundle(
        Path(options.artifact),
        options.identity_token,
        options.bundle,
        in_toto=options.in_toto,
        staging=options.staging,
        trusted_root=options.trusted_root,
        signing_config=options.signing_config,
    )


def _verify(options: argparse.Namespace) -> Verification:
    named = _DIGEST.fullmatch(options.artifact)
    content = None if named else Path(options.artifact).read_bytes()
    signer: PublicKey | Identity
    if options.key is not None:
        signer = PublicKey.from_pem(bounded(options.key, _LARGEST_KEY))
    else:
        signer = Identity(options.certificate_identity, options.certificate_oidc_issuer)
    return verify_bundle(
        bounded(options.bundle, LARGEST_BUNDLE),
        signer,
        artifact_sha256=named[1] if named else None,
        artifact=content,
        trusted_root=root_of(options.trusted_root, options.staging),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="signerd-conformance-client", description=(__doc__ or "").replace("``", ""), allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--staging", action="store_true", help="the staging instance in place of production")
    shared.add_argument("--bundle", metavar="FILE", type=Path, required=True, help="where the bundle is, or is to be")
    shared.add_argument("--trusted-root", metavar="FILE", type=Path, help="the authorities and logs that are believed")
    sign = commands.add_parser("sign-bundle", parents=[shared], help="have a Statement about a file signed")
    sign.add_argument("--in-toto", action="store_true", help="the file is the Statement")
    sign.add_argument("--identity-token", metavar="TOKEN", required=True, help="the OIDC token itself")
    sign.add_argument("--signing-config", metavar="FILE", type=Path, help="the services that sign, log and stamp")
    sign.add_argument("artifact", metavar="FILE", help="what the Statement is about")
    verify = commands.add_parser("verify-bundle", parents=[shared], help="verify a bundle")
    verify.add_argument("--certificate-identity", metavar="ID", help="the name that the certificate must have")
    verify.add_argument("--certificate-oidc-issuer", metavar="URL", help="who must have vouched for that name")
    verify.add_argument("--key", metavar="PEM", type=Path, help="in place of both: the public key that signed")
    verify.add_argument("artifact", metavar="FILE_OR_DIGEST", help="what it must be about, or sha256: and its hex")
    return parser
