"""The content: parsed, validated, canonicalised, and put into its Statement, unless it is signed bare."""

import dataclasses
import hashlib

from msgspec import UNSET

from signerd.attestation.canonical import canonicalise
from signerd.attestation.statement import Subject, check_subjects, subjects_text
from signerd.attestation.statement import build_statement as join_statement
from signerd.contracts.providers import PredicateType
from signerd.errors import Fault, Refusal
from signerd.pipeline.evidence import Admission, BuiltStatement, Order
from signerd.pipeline.guarded import Guarded
from signerd.pipeline.services import Services
from signerd.pipeline.waits import check_document, hash_files
from signerd.wire.methods import Descriptor, SignDsse, SignPayload
from signerd.wire.worker_calls import LINK_FRAME_BYTES, CheckDocument

__all__ = ["build_statement"]

_NOTHING = type(None)
_CALL_BYTES = LINK_FRAME_BYTES - 16 * 1024
"""What a call of the document worker may hold: JSON writes some names longer than the caller's frame did."""


async def build_statement(admission: Admission, services: Services) -> BuiltStatement:
    """Return what will be signed: the Statement, or the canonical form of a bare document.

    Refuses with ``statement.invalid`` (subjects that prove equal once they are hashed) and
    ``predicate.invalid``. A small predicate is handled here; a large one, or one of a heavy type, in the
    document worker, so that no document stops the loop (T21).
    """
    order = admission.cleared.entitled.order
    kind, predicate = order.predicate_type, order.params.document
    subjects = await _hashed_subjects(order)
    if isinstance(predicate, Descriptor) or kind.heavy or len(predicate) > services.bounds.front_document_bytes:
        return await _in_worker(admission, subjects)
    order.request.predicate_sha256 = digest = hashlib.sha256(predicate).hexdigest()
    _name_payload(order, digest)
    document = canonicalise(predicate)
    statement = document.text if order.bare else join_statement(subjects, kind.uri, document.text)
    if len(statement) > services.bounds.front_document_bytes:
        # What a link carries inline is smaller: many subjects, or numbers that RFC 8785 writes longer, need a memfd.
        return await _in_worker(admission, subjects)
    _judge(services.catalogue.types[kind.uri], document.value, _stated_policy(order.params))
    return BuiltStatement(admission, statement, None, digest)


def _judge(guarded: Guarded[PredicateType], document: dict[str, object], stated: tuple[str, str]) -> None:
    """Have the predicate's type look at the document, and compare the policy that the request states.

    The document worker judges by the same rules; a text of ``stated`` is empty where the request states none.
    """
    kind, guard = guarded.provider, guarded.guard
    guard.now(kind.check, _NOTHING, document)
    if not kind.needs_policy:
        return
    own = guard.now(lambda: kind.policy(document) or (), tuple)
    if own and any(stated) and own != stated:
        raise Refusal("predicate.invalid", "policy_mismatch", "the request's policy is not the document's")
    if not own and not all(stated):
        raise Refusal("predicate.invalid", "policy_missing", "this predicate type needs its policy stated")


def _stated_policy(params: SignDsse | SignPayload) -> tuple[str, str]:
    policy = params.policy
    return ("", "") if policy is UNSET else (policy.digest, policy.view_set)


async def _in_worker(admission: Admission, subjects: tuple[Subject, ...]) -> BuiltStatement:
    order = admission.cleared.entitled.order
    predicate, fd = _travelling(order)
    policy_digest, view_set = _stated_policy(order.params)
    texts = subjects_text(subjects)
    inline = len(predicate) if isinstance(predicate, bytes) else 0
    if inline + len(texts) + 4 * len(policy_digest + view_set) > _CALL_BYTES:
        raise Refusal("request.too_large", "subjects_too_large", "the subjects' names are longer than the daemon takes")
    checked = await check_document(
        CheckDocument(
            id=0,
            predicate_type=order.predicate_type.uri,
            predicate=predicate,
            subjects=texts,
            policy_digest=policy_digest,
            policy_view_set=view_set,
            bare=order.bare,
        ),
        fd,
    )
    order.request.predicate_sha256 = checked.predicate_sha256
    _name_payload(order, checked.predicate_sha256)
    if checked.statement is None:
        raise Fault("internal", "document_worker", "the document cannot be checked")
    # The worker's memfd is the last descriptor that this request has come to own.
    payload_fd = order.request.owned[-1] if isinstance(checked.statement, Descriptor) else None
    return BuiltStatement(admission, checked.statement, payload_fd, checked.predicate_sha256)


def _travelling(order: Order) -> tuple[bytes | Descriptor, int | None]:
    """Return the predicate as the document worker's link carries it, and the memfd that goes with it."""
    predicate = order.params.document
    if isinstance(predicate, Descriptor):
        return Descriptor(0, predicate.size), order.request.fds[predicate.fd]
    return predicate, None


def _name_payload(order: Order, digest: str) -> None:
    """Have the record name a bare document by its digest as received, where the request names no subject."""
    if order.params.subject is UNSET:
        (unnamed,) = order.subjects
        order.request.order = dataclasses.replace(order, subjects=(Subject(unnamed.name, {"sha256": digest}),))


async def _hashed_subjects(order: Order) -> tuple[Subject, ...]:
    """Return the subjects, those given by descriptor hashed off the loop: the record names them so."""
    request, asked = order.request, order.params.subject
    if asked is UNSET:
        return order.subjects
    files = [(request.fds[s.fd], s.size) for s in asked if s.fd is not UNSET and s.size is not UNSET]
    if not files:
        return order.subjects
    digests = iter(await hash_files(files))
    subjects = tuple([Subject(s.name, s.digest or {"sha256": next(digests)}) for s in order.subjects])
    check_subjects(subjects, allow_gost=order.output.gost_digests)
    request.order = dataclasses.replace(order, subjects=subjects)
    return subjects
