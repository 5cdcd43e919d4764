"""``signerctl hash``: digests of files by the hash that a compliance profile has for a purpose; opens no socket."""

import argparse

from signerd.attestation.hashing import hash_for
from signerd.errors import Refusal
from signerd.verification.hashing import hasher
from signerd_client.files import unreadable
from signerd_client.output import json_text, table, write_stdout

__all__ = ["digest_of", "run"]

PIECE = 1 << 20


def run(arguments: argparse.Namespace) -> int:
    """Print the hash's name and each file's digest; refuses a profile that there is not."""
    try:
        name = hash_for(arguments.profile, arguments.purpose)
    except ValueError as error:
        raise Refusal("request.malformed", "profile", f"--profile {arguments.profile}: {error}") from error
    digests = [(path, digest_of(path, name)) for path in arguments.file]
    if arguments.output == "table":
        write_stdout(table(("hash", "digest", "file"), [(name, found, path) for path, found in digests]).encode())
    else:
        found = [{"file": path, "digest": value} for path, value in digests]
        write_stdout(json_text({"hash": name, "files": found}))
    return 0


def digest_of(path: str, name: str) -> str:
    """Return the digest of a file by the hash ``name``, as hex; it is read in pieces, ``-`` being stdin.

    ``request.malformed`` (``unreadable_file``), and as :func:`hasher`.
    """
    made = hasher(name)
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            while piece := file.read(PIECE):
                made.update(piece)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return made.digest().hex()
