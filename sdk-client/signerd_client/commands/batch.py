"""``signerctl sign batch``: NDJSON in, an outcome a line out, in order; a line that is wrong is its own
outcome."""

import argparse
import os
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from signerd.errors import Refusal, SignerdError, exit_code
from signerd_client.blocking import Signer
from signerd_client.commands.connecting import connect
from signerd_client.commands.sign import asked_options, options_for, release_digest, subject_of
from signerd_client.files import read_file, unreadable
from signerd_client.output import json_text, table, write_stdout
from signerd_client.progress import Progress
from signerd_client.requests import SignRequest
from signerd_client.results import BatchOutcome
from signerd_client.subjects import Subject

__all__ = ["run"]

_TOGETHER: Final = 32
"""Lines that are signed together: enough for the daemon to group, few enough for a bar that moves."""


class _NamedSubject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line of the file."""

    subject: list[str | _NamedSubject]
    type: str
    predicate: Raw | UnsetType = UNSET
    predicate_file: str | UnsetType = UNSET
    release: str | UnsetType = UNSET
    keys: list[str] | UnsetType = UNSET


_DECODER: Final = msgspec.json.Decoder(_Line)


def run(arguments: argparse.Namespace) -> int:
    """Sign every line; the exit code is that of the first line that was not signed, else 0."""
    release_digest(arguments.release)
    code = 0
    index = 0
    with connect(arguments) as signer, Progress(_count(arguments.document)) as progress:
        lines = _lines(arguments.document)
        while together := list(islice(lines, _TOGETHER)):
            for outcome in _sign(signer, together, arguments):
                _print(outcome, index, arguments)
                if outcome.error is not None and not code:
                    code = exit_code(outcome.error.code)
                index += 1
            progress.advance(len(together))
    return code


def _lines(path: str) -> Iterator[bytes]:
    """Give the lines that are not blank, one at a time: the file may be larger than the memory."""
    try:
        with open(path, "rb") as file:
            yield from (line for line in file if line.strip())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def _count(path: str) -> int:
    if not os.path.isfile(path):
        raise Refusal("request.malformed", "unreadable_file", f"{path}: a file is needed")
    return sum(1 for _ in _lines(path))


def _sign(signer: Signer, lines: list[bytes], arguments: argparse.Namespace) -> list[BatchOutcome]:
    """Return an outcome for each line: those that can be asked for go together."""
    requests: list[SignRequest] = []
    outcomes: dict[int, BatchOutcome] = {}
    places: list[int] = []
    for place, line in enumerate(lines):
        try:
            requests.append(_request(line, arguments))
            places.append(place)
        except SignerdError as error:
            outcomes[place] = BatchOutcome(place, error=error)
    options = asked_options(arguments)
    answers = signer.sign_batch(requests, options=options, deadline_s=arguments.deadline) if requests else []
    outcomes.update(zip(places, answers, strict=True))
    return [outcomes[place] for place in range(len(lines))]


def _request(line: bytes, arguments: argparse.Namespace) -> SignRequest:
    try:
        entry = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = f"a line of the batch is not as it should be: {error}"
        raise Refusal("request.malformed", "batch_line", text) from error
    if (entry.predicate is UNSET) == (entry.predicate_file is UNSET):
        raise Refusal("request.malformed", "batch_line", "a line has either predicate or predicate_file")
    named = entry.predicate_file
    predicate = _raw(entry.predicate) if named is UNSET else read_file(named)
    return SignRequest(
        subject=[
            subject_of(subject) if isinstance(subject, str) else Subject(subject.name, subject.digest)
            for subject in entry.subject
        ],
        predicate_type=entry.type,
        predicate=predicate,
        scanner_image_digest=release_digest(arguments.release if entry.release is UNSET else entry.release),
        options=None if entry.keys is UNSET else options_for(entry.keys),
    )


def _raw(predicate: Raw | UnsetType) -> bytes:
    return b"" if predicate is UNSET else bytes(predicate)


def _print(outcome: BatchOutcome, index: int, arguments: argparse.Namespace) -> None:
    if arguments.output_given and arguments.output == "table":
        if outcome.signed is None:
            shown = str(outcome.error)
        else:
            result = outcome.signed.result
            shown = f"signed, bundle {' '.join(result.bundle_sha256)}"
            if outcome.signed.cose:
                shown = f"signed, COSE messages {len(outcome.signed.cose)}"
            elif not result.bundle_sha256:
                shown = f"signed, envelope {result.envelope_sha256}"
        write_stdout(table((str(index), shown), ()).encode())
        return
    line: dict[str, object] = {"index": index}
    if outcome.signed is not None:
        line["ok"] = outcome.signed.result
    elif outcome.error is not None:
        error = outcome.error
        line["error"] = {"code": error.code, "message": error.public, "details": error.details}
    write_stdout(json_text(line))
