"""``signerctl transparency entry``: what came of a record whose entries come after its answer."""

import argparse
import hashlib
import os
import re
from typing import Final

from msgspec import UNSET

from signerd.attestation.bundle import LARGEST_BUNDLE, with_log_entries
from signerd.errors import Fault, Refusal, exit_code
from signerd.wire.methods import LaterBundle, LaterEntries
from signerd_client.commands.connecting import connect
from signerd_client.files import read_file, write_file
from signerd_client.output import json_text, note, table, write_stdout

__all__ = ["run"]

_FAILED: Final = 1


def run(arguments: argparse.Namespace) -> int:
    """Print what there is, and write the whole bundles to ``--out`` once every entry is there: 0. An entry that is to
    come is worth another try (10), one that never will is not (1). With ``--out`` bundles are printed where
    ``--output`` asks for it alone."""
    with connect(arguments) as signer:
        found = signer.transparency_entry(arguments.audit_id, deadline_s=arguments.deadline)
    if arguments.output == "table":
        rows = [(one.keyid, one.state, str(len(one.entries)), one.bundle_sha256) for one in found.bundles]
        write_stdout(table(("KEYID", "STATE", "ENTRIES", "BUNDLE"), rows).encode())
    elif arguments.out is None or arguments.output_given:
        write_stdout(json_text(found))
    if found.state == "logged":
        if arguments.out is not None:
            _write(arguments, found)
        return 0
    if found.state == "pending":
        note("signerctl: an entry is to come; ask again")
        return exit_code("transparency.unavailable")
    note("signerctl: an entry will not come: its log has refused it, or is no longer configured")
    return _FAILED


def _write(arguments: argparse.Namespace, found: LaterEntries) -> None:
    given = None if arguments.bundle is None else read_file(arguments.bundle, LARGEST_BUNDLE + 1)
    whole = [_whole(one, given) for one in found.bundles]
    if os.path.isdir(arguments.out):
        for place, (one, text) in enumerate(zip(found.bundles, whole, strict=True)):
            hexadecimal = re.sub(r"[^0-9a-f]", "", one.keyid.removeprefix("sha256:"))[:12]
            write_file(os.path.join(arguments.out, f"{place}-{hexadecimal}.sigstore.json"), text)
    elif len(whole) == 1:
        write_file(arguments.out, whole[0])
    else:
        raise Refusal("request.malformed", "out_directory", f"{len(whole)} bundles do not fit into one file")


def _whole(one: LaterBundle, given: bytes | None) -> bytes:
    """Return the bundle with its entries: the daemon's, or of the one that it answered with."""
    if isinstance(one.bundle, bytes):
        if one.complete_sha256 is UNSET or hashlib.sha256(one.bundle).hexdigest() != one.complete_sha256:
            raise Fault("internal", "result_shape", "the daemon answered with a bundle of another digest")
        return one.bundle
    if given is None or hashlib.sha256(given).hexdigest() != one.bundle_sha256:
        text = f"the daemon did not keep the bundle: give it by --bundle, with the SHA-256 {one.bundle_sha256}"
        raise Refusal("request.malformed", "bundle_not_kept", text)
    return with_log_entries(given, one.entries)
