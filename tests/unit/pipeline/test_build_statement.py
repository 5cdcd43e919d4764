import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import rfc8785

from fakes.services import (
    DIGEST,
    EXEMPT,
    HEAVY,
    NEEDS_RELEASE,
    RECORD,
    REPORT,
    TYPES,
    PredicateTypeFake,
    World,
    admitted,
    complete,
    order,
    payload,
    refusal,
    request,
    world,
)
from signerd.errors import Fault, Refusal
from signerd.host.memfd import sealed_memfd
from signerd.pipeline.build_statement import build_statement
from signerd.pipeline.evidence import BuiltStatement
from signerd.pipeline.request import SignRequest
from signerd.pipeline.waits import DocumentWait, HashWait
from signerd.wire.methods import Descriptor, PolicyMetadata, Subject
from signerd.wire.worker_calls import CheckDocument, DocumentChecked

PREDICATE = b'{"ok": true, "b": [1.0, "\\u00e9"], "a": {}}'
STATEMENT: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "artefact", "digest": {"sha256": DIGEST}}],
    "predicateType": NEEDS_RELEASE,
    "predicate": {"ok": True, "b": [1, "é"], "a": {}},
}
PLACES = ["front end", "document worker"]
"""Where a document is judged: the answers must be the same."""


def place(where: str) -> World:
    return world(front_document_bytes=0 if where == "document worker" else 1000)


def build(given: World, asked: SignRequest) -> BuiltStatement:
    return complete(build_statement(admitted(given, asked), given.services), given, asked)


def refused(given: World, asked: SignRequest) -> tuple[str, str, dict[str, Any]]:
    return refusal(build_statement(admitted(given, asked), given.services), given)


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """What a test opens, closed after it."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("where", PLACES)
def test_the_statement_is_canonical_and_the_predicates_digest_that_of_its_bytes(where: str) -> None:
    asked = request(order(predicate=PREDICATE))
    made = build(place(where), asked)
    assert made.payload == rfc8785.dumps(STATEMENT)
    assert made.payload_fd is None
    assert made.predicate_sha256 == asked.predicate_sha256 == hashlib.sha256(PREDICATE).hexdigest()


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("predicate", "reason", "pointer"),
    [
        (b"", "not_json", None),
        (b"[]", "not_object", None),
        (b'{"ok":true,"ok":true}', "duplicate_key", None),
        (b'{"ok":true,"n":NaN}', "not_finite", None),
        (b'{"ok":false}', "schema", "/ok"),
        (b"{}", "schema", "/ok"),
    ],
)
def test_a_predicate_that_does_not_pass(predicate: bytes, reason: str, pointer: str | None, where: str) -> None:
    asked = request(order(predicate=predicate))
    code, found, details = refused(place(where), asked)
    assert (code, found) == ("predicate.invalid", reason)
    assert pointer is None or details == {"pointer": pointer}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("defect", "reason"), [(RuntimeError("secret"), "plugin_failed"), (True, "plugin_type")])
def test_a_type_that_fails_or_says_yes_has_judged_nothing(defect: object, reason: str, where: str) -> None:
    given = world(
        types=[PredicateTypeFake(NEEDS_RELEASE, needs_release=True, defect=defect)],
        front_document_bytes=0 if where == "document worker" else 1000,
    )
    assert refused(given, request()) == ("internal", reason, {})


@pytest.mark.parametrize("where", PLACES)
def test_a_check_that_is_left_unawaited_has_judged_nothing(where: str) -> None:
    async def nobody_waits() -> None:
        raise AssertionError

    class Lazy(PredicateTypeFake):
        def check(self, document: dict[str, object]) -> Any:
            return nobody_waits()

    given = world(
        types=[Lazy(NEEDS_RELEASE, needs_release=True)],
        front_document_bytes=0 if where == "document worker" else 1000,
    )
    assert refused(given, request()) == ("internal", "plugin_type", {})


OWN = {"digest": "sha256:x", "viewSet": "v"}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("stated", "own", "reason"),
    [
        (None, None, "policy_missing"),
        (("", ""), None, "policy_missing"),
        (("sha256:x", ""), None, "policy_missing"),
        (("sha256:x", "v"), None, None),
        (None, OWN, None),
        (("sha256:x", "v"), OWN, None),
        (("sha256:x", "w"), OWN, "policy_mismatch"),
        (("sha256:y", "v"), OWN, "policy_mismatch"),
        (("sha256:x", ""), OWN, "policy_mismatch"),
    ],
)
def test_the_policy_of_a_report(
    stated: tuple[str, str] | None, own: dict[str, str] | None, reason: str | None, where: str
) -> None:
    predicate = rfc8785.dumps({"ok": True} | ({} if own is None else {"policy": own}))
    policy = {} if stated is None else {"policy": PolicyMetadata(*stated)}
    asked = request(order(predicate_type=REPORT, predicate=predicate, **policy))
    given = place(where)
    if reason is None:
        assert predicate in bytes(build(given, asked).payload)  # type: ignore[arg-type]  # inline
    else:
        assert refused(given, asked) == ("predicate.invalid", reason, {})


SMALL = b'{"ok":true}'


@pytest.mark.parametrize(
    ("predicate", "kind", "aside"),
    [
        (SMALL, EXEMPT, False),
        (SMALL.ljust(1000), EXEMPT, False),
        (SMALL.ljust(1001), EXEMPT, True),
        # Its Statement is longer than what a link carries inline.
        (b'{"ok":true,"text":"%s"}' % (b"x" * 900), EXEMPT, True),
        (SMALL, HEAVY, True),
    ],
)
def test_large_documents_and_heavy_types_go_to_the_worker(predicate: bytes, kind: str, aside: bool) -> None:
    given = world(front_document_bytes=1000)
    asked = request(order(predicate=predicate, predicate_type=kind))
    stage = build_statement(admitted(given, asked), given.services)
    if not aside:
        with pytest.raises(StopIteration) as ended:
            stage.send(None)
        assert predicate.rstrip() in ended.value.value.payload
        return
    wait = stage.send(None)
    assert isinstance(wait, DocumentWait)
    assert wait.fd is None
    assert wait.call == CheckDocument(
        0, kind, predicate, b'[{"digest":{"sha256":"%s"},"name":"artefact"}]' % DIGEST.encode()
    )
    stage.close()


def test_a_predicate_by_descriptor_is_the_workers(descriptors: list[int]) -> None:
    descriptors.append(sealed_memfd("predicate", PREDICATE))
    asked = request(order(predicate=Descriptor(0, len(PREDICATE))), fds=tuple(descriptors))
    made = build(world(), asked)
    assert made.payload == rfc8785.dumps(STATEMENT)
    assert made.predicate_sha256 == hashlib.sha256(PREDICATE).hexdigest()
    assert asked.owned == []


def test_a_large_statement_stays_in_the_workers_memfd(descriptors: list[int]) -> None:
    predicate = rfc8785.dumps({"ok": True, "text": "x" * (300 << 10)})
    descriptors.append(sealed_memfd("predicate", predicate))
    asked = request(order(predicate=Descriptor(0, len(predicate))), fds=tuple(descriptors))
    made = build(world(), asked)
    assert isinstance(made.payload, Descriptor)
    assert made.payload_fd is not None
    assert asked.owned == [made.payload_fd]
    descriptors.append(made.payload_fd)
    statement = rfc8785.dumps(STATEMENT | {"predicate": {"ok": True, "text": "x" * (300 << 10)}})
    assert os.pread(made.payload_fd, made.payload.size + 1, 0) == statement


def test_an_answer_without_a_statement_is_none() -> None:
    given = world()
    stage = build_statement(
        admitted(given, request(order(predicate_type=HEAVY, scanner_image_digest="sha256:" + "0" * 64))),
        given.services,
    )
    assert isinstance(stage.send(None), DocumentWait)
    with pytest.raises(Fault) as caught:
        stage.send(DocumentChecked(1))
    assert (caught.value.code, caught.value.reason) == ("internal", "document_worker")


def test_a_call_of_the_worker_fits_into_a_frame() -> None:
    subjects = tuple(Subject(f"{index:04}" + "x" * 4200, digest={"sha256": f"{index:064x}"}) for index in range(1000))
    asked = request(order(subject=subjects, predicate_type=HEAVY, predicate=SMALL))
    assert refused(world(), asked) == ("request.too_large", "subjects_too_large", {})


def files(descriptors: list[int], *contents: bytes) -> None:
    descriptors.extend([sealed_memfd("subject", content) for content in contents])


def test_subjects_by_descriptor_are_hashed_and_keep_their_place(descriptors: list[int]) -> None:
    files(descriptors, b"zero", b"two")
    subjects = (
        Subject("a", fd=1, size=3),
        Subject("b", digest={"sha256": DIGEST, "sha512": "0" * 128}),
        Subject("c", fd=0, size=4),
    )
    asked = request(order(subject=subjects), fds=tuple(descriptors))
    given = world()
    made = build(given, asked)
    expected = [
        {"name": "a", "digest": {"sha256": hashlib.sha256(b"two").hexdigest()}},
        {"name": "b", "digest": {"sha256": DIGEST, "sha512": "0" * 128}},
        {"name": "c", "digest": {"sha256": hashlib.sha256(b"zero").hexdigest()}},
    ]
    assert made.payload == rfc8785.dumps(STATEMENT | {"subject": expected, "predicate": {"ok": True}})
    assert asked.order is not None
    assert [{"name": s.name, "digest": s.digest} for s in asked.order.subjects] == expected


def test_all_files_are_hashed_in_one_wait(descriptors: list[int]) -> None:
    files(descriptors, b"0", b"1")
    subjects = (Subject("a", fd=1, size=1), Subject("b", fd=0, size=1))
    asked = request(order(subject=subjects), fds=tuple(descriptors))
    given = world()
    stage = build_statement(admitted(given, asked), given.services)
    assert stage.send(None) == HashWait(((descriptors[1], 1), (descriptors[0], 1)))
    stage.close()


def test_files_that_prove_equal_are_one_subject_twice(descriptors: list[int]) -> None:
    files(descriptors, b"same", b"artefact", b"same")
    asked = request(
        order(subject=tuple(Subject(str(fd), fd=fd, size=s) for fd, s in ((0, 4), (1, 8), (2, 4)))),
        fds=tuple(descriptors),
    )
    found = ("statement.invalid", "duplicate_digest", {"pointer": "/subject/2/digest"})
    assert refused(world(), asked) == found
    mixed = (Subject("a", digest={"sha256": DIGEST}), Subject("b", fd=1, size=8))
    asked = request(fds=tuple(descriptors))
    # As an item of a batch, whose other descriptors are other items'.
    asked.params = order(subject=mixed)
    assert refused(world(), asked)[:2] == ("statement.invalid", "duplicate_digest")


def test_a_file_that_changes_meanwhile_is_refused(descriptors: list[int]) -> None:
    fd = os.memfd_create("subject")
    descriptors.append(fd)
    os.write(fd, b"four")
    asked = request(order(subject=(Subject("a", fd=0, size=4),)), fds=(fd,))
    given = world()
    evidence = admitted(given, asked)
    os.ftruncate(fd, 3)
    with pytest.raises(Refusal) as caught:
        complete(build_statement(evidence, given.services), given, asked)
    assert (caught.value.code, caught.value.reason) == ("request.malformed", "size_mismatch")


def test_the_fakes_are_types_of_the_contract() -> None:
    from signerd.contracts.providers import PredicateType

    assert all(isinstance(kind, PredicateType) for kind in TYPES)


@pytest.mark.parametrize("where", PLACES)
def test_of_a_bare_document_the_canonical_form_is_signed(where: str) -> None:
    asked = request(payload(payload=PREDICATE))
    made = build(place(where), asked)
    assert made.payload == rfc8785.dumps(STATEMENT["predicate"])
    digest = hashlib.sha256(PREDICATE).hexdigest()
    assert made.predicate_sha256 == asked.predicate_sha256 == digest
    assert asked.order is not None
    assert [(s.name, s.digest) for s in asked.order.subjects] == [("payload", {"sha256": digest})]
    assert asked.order.predicate_type.uri == RECORD


@pytest.mark.parametrize("where", PLACES)
def test_a_bare_document_keeps_the_subjects_that_it_came_with(where: str) -> None:
    asked = request(payload(subject=(Subject("scan", digest={"sha256": DIGEST}),)))
    build(place(where), asked)
    assert asked.order is not None
    assert [(s.name, s.digest) for s in asked.order.subjects] == [("scan", {"sha256": DIGEST})]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("document", "reason", "pointer"),
    [
        (b"", "not_json", None),
        (b"[]", "not_object", None),
        (b'{"ok": true, "ok": true}', "duplicate_key", None),
        (b'{"ok": false}', "schema", "/ok"),
    ],
)
def test_a_bare_document_is_judged_as_a_predicate_is(
    where: str, document: bytes, reason: str, pointer: str | None
) -> None:
    code, found, details = refused(place(where), request(payload(payload=document)))
    assert (code, found) == ("predicate.invalid", reason)
    if pointer is not None:
        assert details == {"pointer": pointer}


def test_a_large_bare_document_goes_by_memfd(descriptors: list[int]) -> None:
    text = b'{"ok": true, "text": "' + b"large " * 60_000 + b'"}'
    descriptors.append(sealed_memfd("payload", text))
    asked = request(payload(payload=Descriptor(0, len(text))), fds=(descriptors[0],))
    made = build(world(), asked)
    assert isinstance(made.payload, Descriptor)
    assert made.payload_fd is not None
    signed = os.pread(made.payload_fd, made.payload.size, 0)
    descriptors += asked.owned
    assert signed == text.replace(b": ", b":").replace(b", ", b",")
    assert asked.order is not None
    assert asked.order.subjects[0].digest == {"sha256": hashlib.sha256(text).hexdigest()}
