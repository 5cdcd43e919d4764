"""``signerctl sign payload``: a document that is signed itself, the payload of one envelope."""

import argparse

from signerd.attestation.canonical import canonical_json
from signerd_client.commands import touching
from signerd_client.commands.connecting import connect
from signerd_client.commands.sign import as_table, asked_options, release_digest, subject_of
from signerd_client.files import read_file, write_file
from signerd_client.output import json_text, note, write_stdout
from signerd_client.requests import PayloadRequest

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Have one document signed bare; the envelope goes to ``--out`` or stdout, warnings to stderr."""
    request = PayloadRequest(
        payload_type=arguments.payload_type,
        payload=read_file(arguments.document),
        subject=[subject_of(argument) for argument in arguments.subject] or None,
        scanner_image_digest=release_digest(arguments.release),
        options=asked_options(arguments),
        approval_id=arguments.approval,
    )
    with connect(arguments) as signer:
        signed = touching.signed(arguments, signer.sign_payload, request)
    envelope = signed.envelope or b""
    if arguments.out is not None:
        write_file(arguments.out, envelope)
    elif not arguments.output_given:
        write_stdout(envelope)
    if arguments.receipt is not None:
        write_file(arguments.receipt, canonical_json(signed.receipt))
    if arguments.output_given:
        write_stdout(json_text(signed.result) if arguments.output == "json" else as_table(signed).encode())
    for warning in signed.result.warnings:
        note(f"warning: {warning}")
    return 0
