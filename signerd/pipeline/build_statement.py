"""The content: parsed, validated, canonicalised, and framed as a Statement."""

import hashlib

from msgspec import UNSET

from signerd.attestation.canonical import canonicalise
from signerd.attestation.statement import Subject, check_subjects, subjects_text
from signerd.attestation.statement import build_statement as join_statement
from signerd.contracts.providers import PredicateType
from signerd.errors import Refusal
from signerd.pipeline.evidence import Admission, BuiltStatement, Order
from signerd.pipeline.services import Services
from signerd.pipeline.waits import check_document, hash_files
from signerd.wire import worker_calls
from signerd.wire.methods import Descriptor, SignDsse

__all__ = ["build_statement", "check_policy"]

_NOTHING = type(None)


async def build_statement(admission: Admission, services: Services) -> BuiltStatement:
    """Return the Statement that will be signed; refuses with ``predicate.invalid`` and ``statement.invalid``.

    A small predicate is handled here; a large one, or one of a heavy type, in the document worker, so that no
    document stops the loop (T21).
    """
    order = admission.cleared.entitled.order
    params, kind = order.params, order.predicate_type
    subjects = await _hashed_subjects(order, services)
    predicate = params.predicate
    if (
        isinstance(predicate, Descriptor)
        or kind.heavy
        or len(predicate) > services.bounds.front_document_bytes
    ):
        return await _in_worker(admission, subjects)
    order.request.predicate_sha256 = digest = hashlib.sha256(predicate).hexdigest()
    document = canonicalise(predicate)
    guarded = services.catalogue.types[kind.uri]
    guarded.guard(kind.check, _NOTHING, document.value)
    if params.policy is not UNSET or kind.needs_policy:
        stated = None if params.policy is UNSET else (params.policy.digest, params.policy.view_set)
        check_policy(kind, document.value, stated)
    return BuiltStatement(admission, join_statement(subjects, kind.uri, document.text), None, digest)


def check_policy(kind: PredicateType, document: dict[str, object], stated: tuple[str, str] | None) -> None:
    """Refuse a policy that the request states and the document contradicts, or that neither states where it must be."""
    own = kind.policy(document)
    if stated is not None and own is not None and stated != own:
        raise Refusal("predicate.invalid", "policy_mismatch", "the request's policy is not the document's")
    if kind.needs_policy and own is None and stated is None:
        raise Refusal("predicate.invalid", "policy_missing", "this predicate type needs its policy stated")


async def _in_worker(admission: Admission, subjects: tuple[Subject, ...]) -> BuiltStatement:
    order = admission.cleared.entitled.order
    params = order.params
    predicate, fd = _predicate_of(params, order)
    policy = params.policy
    checked = await check_document(
        worker_calls.CheckDocument(
            id=0,
            predicate_type=order.predicate_type.uri,
            predicate=predicate,
            subjects=subjects_text(subjects),
            policy_digest="" if policy is UNSET else policy.digest,
            policy_view_set="" if policy is UNSET else policy.view_set,
        ),
        fd,
    )
    order.request.predicate_sha256 = checked.predicate_sha256
    assert checked.statement is not None
    # The worker's memfd is the last descriptor that this request has come to own.
    payload_fd = order.request.owned[-1] if isinstance(checked.statement, worker_calls.Descriptor) else None
    return BuiltStatement(admission, checked.statement, payload_fd, checked.predicate_sha256)


def _predicate_of(params: SignDsse, order: Order) -> tuple[bytes | worker_calls.Descriptor, int | None]:
    """Return the predicate as the document worker's link carries it."""
    predicate = params.predicate
    if isinstance(predicate, Descriptor):
        return worker_calls.Descriptor(0, predicate.size), order.request.fds[predicate.fd]
    return predicate, None


async def _hashed_subjects(order: Order, services: Services) -> tuple[Subject, ...]:
    """Return the subjects, those given by descriptor hashed off the loop."""
    asked = order.params.subject
    files = [(order.request.fds[s.fd], s.size) for s in asked if s.fd is not UNSET and s.size is not UNSET]
    if not files:
        return order.subjects
    digests = iter(await hash_files(files))
    subjects = tuple(
        [Subject(s.name, {"sha256": next(digests)} if s.digest is UNSET else s.digest) for s in asked]
    )
    check_subjects(subjects)
    return subjects
