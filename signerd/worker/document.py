"""The document worker: parses, validates and canonicalises one large predicate at a time, and frames the
Statement.

``python -m signerd.worker.document --fd N`` is a child of the front end; its settings, the JSON of
:class:`DocumentWorkerSettings`, are its standard input. It holds no key and no connection to a caller: the
worst that a document can do is to end this process (T21). What a document took is given back to the kernel
after it.
"""

import ctypes
import gc
import hashlib
import os
from collections.abc import Mapping
from typing import Final

import msgspec

from signerd.attestation.canonical import canonicalise
from signerd.attestation.statement import join_statement
from signerd.contracts.providers import PredicateType
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.certificate import NONE
from signerd.host.guard import Guard, told
from signerd.host.link import Frame, Link
from signerd.host.load import LoadError, PluginEntry, Provided, load_predicates
from signerd.host.memfd import read_sealed, sealed_memfd
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import encode_frame
from signerd.wire.params import Descriptor
from signerd.wire.worker_calls import (
    PAYLOAD_INLINE,
    STATEMENT_BYTES,
    CallError,
    CheckDocument,
    DocumentChecked,
)
from signerd.worker import process

__all__ = ["DocumentWorkerSettings", "PluginSettings", "check", "main"]

PROGRAM: Final = "signerd.worker.document"
NICE: Final = 10
WORTH_TRIMMING: Final = 1024 * 1024
"""Bytes of a document from which on giving memory back to the kernel pays; below, the next one uses it
again."""

Predicates = Mapping[str, Provided[PredicateType]]


class PluginSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One predicate plugin: its own table, and the configuration's pins, certificate and certifiers."""

    settings: Mapping[str, object] = {}
    version: str | None = None
    record: str | None = None
    certificate: str = NONE
    certifiers: tuple[str, ...] = ()


class DocumentWorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the front end hands over: the plugins that bring predicate types, by name, in the configured
    order."""

    plugins: Mapping[str, PluginSettings]
    development: bool = False


def check(
    call: CheckDocument, fds: tuple[int, ...], predicates: Predicates
) -> tuple[DocumentChecked, int | None]:
    """Do one call; return the answer and, where the Statement is large, the sealed memfd that holds it.

    ``fds`` stay the caller's. Never raises: a refusal, a plugin's defect and a lack of memory are answers.
    """
    try:
        return _check(call, fds, predicates)
    except SignerdError as exc:
        error = exc
    except MemoryError as exc:
        error = Fault("internal", "document_memory", "the signer failed", operator=told(exc))
    pointer = error.details.get("pointer", "")
    told_error = CallError(error.code, error.reason, error.public, error.args[0])
    return DocumentChecked(call.id, error=told_error, pointer=str(pointer)), None


def _check(
    call: CheckDocument, fds: tuple[int, ...], predicates: Predicates
) -> tuple[DocumentChecked, int | None]:
    text = _predicate(call.predicate, fds)
    provided = predicates.get(call.predicate_type)
    if provided is None:
        raise Refusal("predicate.unsupported", "unknown_type", "the predicate type is not in the catalogue")
    digest = hashlib.sha256(text).hexdigest()
    canonical, value = canonicalise(text)
    del text  # each of the three takes memory that the next step may need
    _judge(provided, value, (call.policy_digest, call.policy_view_set))
    del value
    statement = canonical if call.bare else join_statement(call.subjects, call.predicate_type, canonical)
    del canonical
    if len(statement) > STATEMENT_BYTES:
        # The sealer takes no more, and would hold the front end for broken (T21).
        raise Refusal(
            "request.too_large", "statement_too_large", "the document's canonical form is larger than this daemon takes"
        )
    if len(statement) <= PAYLOAD_INLINE:
        return DocumentChecked(call.id, statement, digest), None
    return DocumentChecked(call.id, Descriptor(0, len(statement)), digest), sealed_memfd(
        "statement", statement
    )


def _predicate(predicate: bytes | Descriptor, fds: tuple[int, ...]) -> bytes:
    if isinstance(predicate, bytes) and not fds:
        return predicate
    if isinstance(predicate, Descriptor) and len(fds) == 1 and predicate.fd == 0:
        return read_sealed(fds[0], predicate.size, STATEMENT_BYTES)
    raise Refusal("request.malformed", "descriptor_index", "the descriptors are not those that are named")


def _judge(provided: Provided[PredicateType], value: dict[str, object], stated: tuple[str, str]) -> None:
    """Have the predicate's type look at it, and compare the policy that the request states with its own."""
    guard, kind = Guard("predicate", provided.name), provided.provider
    guard.now(kind.check, type(None), value)
    own = guard.now(lambda: kind.policy(value) or (), tuple)
    if own and any(stated) and own != stated:
        raise Refusal("predicate.invalid", "policy_mismatch", "the request's policy is not the document's")
    if kind.needs_policy and not own and not all(stated):
        raise Refusal("predicate.invalid", "policy_missing", "this predicate type needs its policy stated")


def _serve(link: Link, frame: Frame, fds: tuple[int, ...], predicates: Predicates) -> bool:
    """Answer one frame; whether the link is still good for another."""
    try:
        call = msgspec.msgpack.decode(frame, type=CheckDocument)
    except BROKEN:
        return False  # the front end sends nothing else: whoever speaks here is not it
    answer, fd = check(call, fds, predicates)
    link.queue(encode_frame(answer), () if fd is None else (fd,))
    del answer, call
    return process.flush(link)


def main() -> None:
    """Run the worker until its link ends."""
    link, settings = process.begin(PROGRAM, DocumentWorkerSettings)
    entries = {
        name: PluginEntry(p.settings, p.version, p.record, p.certificate, p.certifiers)
        for name, p in settings.plugins.items()
    }
    try:
        predicates = load_predicates(entries, development=settings.development)
    except LoadError as exc:
        process.fail(PROGRAM, str(exc))
    # A small request beside a large document must not wait for a core (T21).
    os.nice(NICE)
    trim = ctypes.CDLL(None).malloc_trim
    # A parsed document is a tree of millions of objects without cycles: collections while it grows only cost
    # time.
    gc.disable()
    gc.collect()
    gc.freeze()
    for arrived in process.frames(link):
        for frame, fds in arrived:
            large = max([len(frame), *(os.fstat(fd).st_size for fd in fds)]) > WORTH_TRIMMING
            good = _serve(link, frame, fds, predicates)
            for fd in fds:
                os.close(fd)
            if not good:
                return
            gc.collect()
            if large:
                trim(0)
        del arrived


if __name__ == "__main__":
    main()
