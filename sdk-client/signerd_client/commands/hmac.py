"""``signerctl hmac``: a MAC made, or compared, by a key that never leaves the daemon's worker."""

import argparse
import base64
import binascii
import os
import stat
from typing import cast

from signerd.errors import Refusal, exit_code
from signerd.wire.macs import MacPurpose
from signerd_client.commands.connecting import connect
from signerd_client.files import read_file, unreadable
from signerd_client.output import json_text, note, write_stdout

__all__ = ["run"]

LONGEST_MAC_FILE = 4096


def run(arguments: argparse.Namespace) -> int:
    """Make or compare; exit code 6 for a MAC that is not the key's over the file."""
    descriptor = _opened(arguments.document)
    try:
        return _verify(arguments, descriptor) if arguments.kind == "verify" else _compute(arguments, descriptor)
    finally:
        os.close(descriptor)


def _compute(arguments: argparse.Namespace, descriptor: int) -> int:
    purpose = cast("MacPurpose", arguments.purpose)
    with connect(arguments) as signer:
        made = signer.hmac_compute(purpose, arguments.key, descriptor, deadline_s=arguments.deadline)
    # A caller pipes this into another program: JSON only where it was asked for.
    output = arguments.output if arguments.output_given else "hex"
    if output == "json":
        write_stdout(json_text(made))
    elif output == "raw":
        write_stdout(made.mac)
    elif output == "base64":
        write_stdout(base64.b64encode(made.mac) + b"\n")
    else:
        write_stdout(made.mac.hex().encode() + b"\n")
    return 0


def _verify(arguments: argparse.Namespace, descriptor: int) -> int:
    purpose = cast("MacPurpose", arguments.purpose)
    mac = _mac_of(arguments)
    with connect(arguments) as signer:
        found = signer.hmac_verify(purpose, arguments.key, descriptor, mac, deadline_s=arguments.deadline)
    if arguments.output == "json":
        write_stdout(json_text(found))
    if found.valid:
        note("valid")
        return 0
    note("not valid: the MAC is not the key's over this file")
    return exit_code("verification.failed")


def _opened(path: str) -> int:
    """Return a descriptor of a regular file: whoever reads it does so by position, in one pass."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refusal("request.malformed", "unreadable_file", f"{path}: not a regular file")
    return descriptor


def _mac_of(arguments: argparse.Namespace) -> bytes:
    if arguments.mac_file is not None:
        return read_file(arguments.mac_file, LONGEST_MAC_FILE)
    try:
        if arguments.mac_base64 is not None:
            return base64.b64decode(arguments.mac_base64, validate=True)
        return binascii.unhexlify(arguments.mac)
    except ValueError as error:
        raise Refusal("request.malformed", "mac", "the MAC is neither hex nor base64, whichever it must be") from error
