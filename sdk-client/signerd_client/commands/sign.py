"""``signerctl sign statement|sbom|vex|report``."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET

from signerd.attestation.canonical import canonical_json
from signerd.attestation.output import OUTPUT_PROFILES
from signerd.errors import Refusal
from signerd.wire.params import Options
from signerd.wire.signed import SigningIdentity, VerifyCommand
from signerd_client.commands import touching
from signerd_client.commands.connecting import connect
from signerd_client.documents import detect_type
from signerd_client.files import read_file, unreadable, write_file
from signerd_client.output import json_text, note, table, write_stdout
from signerd_client.requests import SignRequest
from signerd_client.results import Signed
from signerd_client.subjects import Subject

__all__ = ["as_table", "asked_options", "identity_token", "options_for", "release_digest", "run", "subject_of"]

TOKEN_BYTES = 16 * 1024
COSE_FILE = "statement.cose"
"""Stands for the message in the daemon's command to verify it."""
_TOKEN = re.compile(rb"[A-Za-z0-9_.-]+")
_RELEASE = re.compile(r"sha256:[0-9a-f]{64}")


def subject_of(argument: str) -> Subject:
    """Return the subject that ``FILE[:NAME]`` names, its file hashed: the last colon separates."""
    path, colon, name = argument.rpartition(":")
    if not colon:
        path, name = argument, os.path.basename(argument)
    if not path or not name:
        raise Refusal("statement.invalid", "name_missing", f"--subject {argument}: FILE[:NAME] is needed")
    try:
        return Subject.of_file(path, name)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def options_for(
    keys: Sequence[str],
    transparency: Literal["none", "async", "required"] | None = None,
    timestamp: bool = False,  # an option of the command
    mode: Literal["auto", "keyful", "keyless"] | None = None,
    identity_token: str | None = None,
    profile: Literal["cosign", "dsse", "cose"] | None = None,
    envelope: bool = False,  # an option of the command
) -> Options | None:
    """Return the options that name the keys to sign with, what to publish, the mode, the token and the form of the
    result; None where nothing is named."""
    options = Options(
        keys=tuple(keys) or UNSET,
        mode=UNSET if mode is None else mode,
        profile=UNSET if profile is None else profile,
        include=("envelope",) if envelope and profile != "dsse" else UNSET,
        transparency=UNSET if transparency is None else transparency,
        timestamp=timestamp or UNSET,
        identity_token=UNSET if identity_token is None else identity_token,
    )
    return None if options == Options() else options


def asked_options(arguments: argparse.Namespace) -> Options | None:
    """Return the options that the command line asks for; refuses as :func:`identity_token`."""
    token = identity_token(arguments.identity_token)
    return options_for(
        arguments.key,
        arguments.transparency,
        arguments.timestamp,
        arguments.mode,
        token,
        arguments.profile,
        getattr(arguments, "envelope", None) is not None,
    )


def identity_token(place: str | None) -> str | None:
    """Return the token in a file, or from stdin for ``-``, without the white space around it.

    ``request.malformed``: ``unreadable_file``, ``identity_token`` (empty, too long, or no text of a token).
    """
    if place is None:
        return None
    raw = sys.stdin.buffer.read(TOKEN_BYTES + 1) if place == "-" else read_file(place, TOKEN_BYTES + 1)
    token = raw.strip()
    if not token or len(raw) > TOKEN_BYTES or _TOKEN.fullmatch(token) is None:
        raise Refusal("request.malformed", "identity_token", "--identity-token: the file holds no token")
    return token.decode()


def release_digest(text: str | None) -> str | None:
    """Return the digest of the tool as the wire has it; ``request.malformed`` for another form than
    ``sha256:…``."""
    if text is not None and _RELEASE.fullmatch(text) is None:
        raise Refusal(
            "request.malformed", "release_digest", "a release is named as sha256: and 64 hex digits"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Have one statement signed; bundle or message goes to ``--out`` or stdout, the envelope to ``--envelope``, hints
    and warnings to stderr."""
    _check_places(arguments)
    document = read_file(arguments.document)
    request = SignRequest(
        subject=[subject_of(argument) for argument in arguments.subject],
        predicate_type=arguments.type
        if arguments.kind == "statement"
        else detect_type(document, arguments.kind),
        predicate=document,
        scanner_image_digest=release_digest(arguments.release),
        options=asked_options(arguments),
        approval_id=arguments.approval,
    )
    with connect(arguments) as signer:
        signed = touching.signed(arguments, signer.sign_dsse, request)
    if arguments.envelope is not None and signed.envelope is not None:
        write_file(arguments.envelope, signed.envelope)
    if arguments.profile == "cose":
        _write_each(arguments, signed.cose, signed.result.signing_identity, "cose")
    else:
        _write_bundles(arguments, signed)
    if arguments.receipt is not None:
        write_file(arguments.receipt, canonical_json(signed.receipt))
    if arguments.output_given:
        write_stdout(json_text(signed.result) if arguments.output == "json" else as_table(signed).encode())
    for warning in signed.result.warnings:
        note(f"warning: {warning}")
    for command in signed.result.verify_command:
        note(f"verify: {_line(command, arguments.out)}")
    return 0


def _line(command: VerifyCommand, out: str | None) -> str:
    """Return the daemon's command with the bundle's real place, where there is one file."""
    if out is None or os.path.isdir(out):
        return command.line
    pairs = zip(("", *command.argv), command.argv, strict=False)
    return shlex.join(out if before == "--bundle" or part == COSE_FILE else part for before, part in pairs)


def _check_places(arguments: argparse.Namespace) -> None:
    """Refuse, before anything is signed, what would leave a signature without a place."""
    whole = arguments.output_given and arguments.output == "json"
    if arguments.profile == "dsse" and arguments.envelope is None and not whole:
        raise Refusal("request.malformed", "envelope_missing", "--profile dsse needs --envelope FILE")
    if arguments.out is not None and os.path.isdir(arguments.out):
        return
    if len(arguments.key) > 1 and arguments.profile != "dsse" and not whole:
        raise Refusal("request.malformed", "out_directory", "several signers need --out DIR, a directory")
    if arguments.output_given and arguments.output == "table" and arguments.out is None:
        raise Refusal(
            "request.malformed", "out_missing", "--output table needs --out: the bundle has no place"
        )


def _write_bundles(arguments: argparse.Namespace, signed: Signed) -> None:
    output = OUTPUT_PROFILES[arguments.profile or "cosign"]
    if output.form == "envelope" and not signed.bundles:
        return  # the daemon's warning says why
    identities = signed.result.signing_identity
    places = output.bundled([identity.algorithm for identity in identities])
    _write_each(arguments, signed.bundles, [identities[place] for place in places], "sigstore.json")


def _write_each(
    arguments: argparse.Namespace, parts: Sequence[bytes], signers: Sequence[SigningIdentity], ending: str
) -> None:
    """Write a file for each signer where ``--out`` is a directory, else the only one there."""
    if arguments.out is not None and os.path.isdir(arguments.out):
        for index, (part, signer) in enumerate(zip(parts, signers, strict=True)):
            hexadecimal = re.sub(r"[^0-9a-f]", "", signer.keyid.removeprefix("sha256:"))[:12]
            write_file(os.path.join(arguments.out, f"{index}-{hexadecimal}.{ending}"), part)
    elif len(parts) != 1:
        if not (arguments.output_given and arguments.output == "json"):
            raise Refusal("request.malformed", "out_directory", f"{len(parts)} signatures do not fit into one file")
    elif arguments.out is not None:
        write_file(arguments.out, parts[0])
    elif not arguments.output_given:
        write_stdout(parts[0])


def as_table(signed: Signed) -> str:
    """Return what was signed, by whom and what is left, for a terminal."""
    result = signed.result
    rows = [
        ("statement", result.statement_sha256),
        *(("bundle", digest) for digest in result.bundle_sha256),
        *(("signer", f"{identity.algorithm} {identity.keyid}") for identity in result.signing_identity),
        ("plan", result.entitlement.plan),
        *((name, str(left)) for name, left in _remaining(signed)),
        ("audit id", result.receipt.audit_id),
    ]
    return table(("what", "value"), rows)


def _remaining(signed: Signed) -> list[tuple[str, int]]:
    left = signed.result.entitlement.remaining
    named = ((f"{name} left", getattr(left, name)) for name in ("rate", "daily", "concurrency"))
    return [(name, value) for name, value in named if value is not UNSET]
