"""``signerctl keys``: the public halves of the tenant's keys."""

import argparse
import base64
import hashlib
from datetime import UTC, datetime

from msgspec import UNSET, UnsetType

from signerd.errors import Fault, Refusal
from signerd.wire.methods import KeyDescription
from signerd_client.blocking import Signer
from signerd_client.commands.connecting import connect
from signerd_client.files import write_file
from signerd_client.output import json_text, table, write_stdout

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Print the keys, or one; write the public half of one to ``--public``."""
    with connect(arguments) as signer:
        described = _describe(signer, arguments)
    for key in described:
        _check_ids(key)
    if arguments.public is not None:
        write_file(arguments.public, _only(described).public_key_pem.encode())
    if arguments.output == "table":
        write_stdout(_as_table(described).encode())
    else:
        write_stdout(json_text({"keys": described} if arguments.ref is None else described[0]))
    return 0


def _describe(signer: Signer, arguments: argparse.Namespace) -> list[KeyDescription]:
    # By their ids: a reference alone means the version that signs now, whichever is asked for.
    references = (
        [key.keyid for key in signer.keys(deadline_s=arguments.deadline).keys]
        if arguments.ref is None
        else [arguments.ref]
    )
    return [signer.describe(reference, deadline_s=arguments.deadline) for reference in references]


def _only(described: list[KeyDescription]) -> KeyDescription:
    """Return the one that was named; else the one that signs now."""
    public = [key for key in described if not _is_secret(key)]
    if not public and len(described) == 1:
        raise Refusal("request.malformed", "no_public_half", f"{described[0].key} makes MACs, and has no public half")
    left = public if len(described) == 1 else [key for key in public if key.status == "active"]
    if len(left) != 1:
        names = ", ".join(dict.fromkeys(key.key for key in left or described)) or "there is none"
        raise Refusal("request.malformed", "key_ambiguous", f"--public writes one key; name it: {names}")
    return left[0]


def _check_ids(key: KeyDescription) -> None:
    """Refuse an answer in which keyid, SPKI and PEM are not of one key: what is written becomes a trust
    anchor."""
    if _is_secret(key):
        return
    spki = key.spki if isinstance(key.spki, bytes) else b""
    body = "".join(line for line in key.public_key_pem.splitlines() if not line.startswith("-----"))
    if key.keyid != f"sha256:{hashlib.sha256(spki).hexdigest()}" or body != base64.b64encode(spki).decode():
        raise Fault("internal", "result_shape", "the daemon described a key whose ids do not belong together")


def _is_secret(key: KeyDescription) -> bool:
    """Whether it makes MACs: it has no public half."""
    return not key.spki and not key.public_key_pem and tuple(key.uses) == ("hmac",)


def _as_table(described: list[KeyDescription]) -> str:
    rows = [
        (key.key, key.algorithm, key.status, key.keyid, _day(key.added_at), _day(key.expires_at))
        for key in described
    ]
    commands = [(line,) for line in dict.fromkeys(c.line for key in described for c in key.verify_command)]
    shown = table(("KEY", "ALGORITHM", "STATUS", "KEYID", "FROM", "UNTIL"), rows)
    return shown + ("\n" + table(("VERIFY WITH",), commands) if commands else "")


def _day(milliseconds: int | UnsetType) -> str:
    if milliseconds is UNSET:
        return "-"
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)
