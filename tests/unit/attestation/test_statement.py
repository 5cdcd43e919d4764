import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from signerd.attestation.canonical import DEEPEST, canonicalise
from signerd.attestation.statement import (
    STATEMENT_TYPE,
    Statement,
    Subject,
    build_statement,
    check_subjects,
    is_type_uri,
    join_statement,
    parse_statement,
    subjects_text,
)
from signerd.errors import Refusal

A, B = "a" * 64, "b" * 64
URI = "https://example.com/attestation/v1"

names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), min_size=1)
digests = st.fixed_dictionaries(
    {"sha256": st.binary(min_size=32, max_size=32).map(bytes.hex)},
    optional={
        "sha384": st.binary(min_size=48, max_size=48).map(bytes.hex),
        "sha512": st.binary(min_size=64, max_size=64).map(bytes.hex),
    },
)
subject_lists = st.lists(
    st.builds(Subject, names, digests),
    min_size=1,
    max_size=5,
    unique_by=(lambda subject: subject.name, lambda subject: subject.digest["sha256"]),
)
predicates = st.dictionaries(
    st.text(max_size=4), st.recursive(st.integers(0, 99) | st.floats(-9, 9), st.lists), max_size=4
)


@given(subject_lists, predicates)
def test_a_statement_joined_from_parts_is_rfc8785_of_the_whole(
    subjects: list[Subject], predicate: dict[str, Any]
) -> None:
    check_subjects(subjects)
    canonical = canonicalise(json.dumps(predicate).encode())
    built = build_statement(subjects, URI, canonical.text)
    assert built == rfc8785.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": subject.name, "digest": dict(subject.digest)} for subject in subjects],
            "predicateType": URI,
            "predicate": predicate,
        }
    )
    assert built == join_statement(subjects_text(subjects), URI, canonical.text)
    assert parse_statement(built) == Statement(STATEMENT_TYPE, tuple(subjects), URI, canonical.value)


def test_the_deepest_predicate_makes_a_statement_that_is_read() -> None:
    predicate = b'{"a":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1) + b"}"
    built = build_statement([Subject("a", {"sha256": A})], URI, canonicalise(predicate).text)
    assert parse_statement(built).predicate_type == URI


@pytest.mark.parametrize(
    ("subjects", "reason"),
    [
        ([], "no_subject"),
        ([Subject(str(n), {"sha256": f"{n:064x}"}) for n in range(1025)], "too_many_subjects"),
        ([Subject("a", {"sha256": A, **{f"x{n}": A for n in range(32)}})], "too_many_digests"),
        ([Subject("", {"sha256": A})], "name_empty"),
        *[
            ([Subject(f"a{character}", {"sha256": A})], "name_control_character")
            for character in "\x00\n\x1b\x7f\x85\u2028\u202e\u2066\ud800"
        ],
        ([Subject("a", {})], "digest_missing_sha256"),
        ([Subject("a", {"sha512": A + A})], "digest_missing_sha256"),
        ([Subject("a", {"sha256": A, "sha1": "a" * 40})], "digest_unknown"),
        ([Subject("a", {"sha256": A, "gost": A})], "digest_unknown"),
        ([Subject("a", {"sha256": "A" * 64})], "digest_malformed"),
        ([Subject("a", {"sha256": "a" * 63})], "digest_malformed"),
        ([Subject("a", {"sha256": "g" * 64})], "digest_malformed"),
        ([Subject("a", {"sha256": "a" * 63 + "\n"})], "digest_malformed"),
        ([Subject("a", {"sha256": "\u0661" * 64})], "digest_malformed"),
        ([Subject("a", {"sha256": A, "sha384": A})], "digest_malformed"),
        ([Subject("a", {"sha256": A, "sha512": A})], "digest_malformed"),
        ([Subject("a", {"sha256": A}), Subject("a", {"sha256": B})], "duplicate_name"),
        ([Subject("a", {"sha256": A}), Subject("b", {"sha256": A})], "duplicate_digest"),
    ],
)
def test_refuses_subjects(subjects: list[Subject], reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_subjects(subjects)
    assert (caught.value.code, caught.value.reason) == ("statement.invalid", reason)


def test_accepts_the_largest() -> None:
    check_subjects([Subject(str(n), {"sha256": f"{n:064x}"}) for n in range(1024)])
    check_subjects([Subject("a", {"sha256": A}), Subject("b", {"sha256": A, "sha384": "c" * 96})])


def test_gost_digests_where_they_are_allowed() -> None:
    subject = Subject("a", {"sha256": A, "gost": A, "streebog256": A, "streebog512": A + A})
    check_subjects([subject], allow_gost=True)
    with pytest.raises(Refusal, match="digest_malformed"):
        check_subjects([Subject("a", {"sha256": A, "streebog512": A})], allow_gost=True)


def test_fewer_digests_where_fewer_are_allowed() -> None:
    with pytest.raises(Refusal, match="too_many_digests"):
        check_subjects([Subject("a", {"sha256": A, "sha384": "a" * 96})], max_digests=1)


def altered(**fields: object) -> bytes:
    whole = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "a", "digest": {"sha256": A}}],
        "predicateType": URI,
        "predicate": {},
        **fields,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", "not_json"),
        (b"[]", "not_object"),
        (b'{"_type":1,"_type":2}', "duplicate_key"),
        (altered(extra=1), "field_unknown"),
        (altered(predicateType=...), "field_malformed"),
        (altered(predicateType=1), "field_malformed"),
        (altered(predicateType=""), "predicate_type_empty"),
        (altered(predicateType="a\x1b"), "predicate_type_empty"),
        (altered(predicate=[]), "field_malformed"),
        (altered(_type=...), "type_unknown"),
        (altered(_type="https://in-toto.io/Statement/v2"), "type_unknown"),
        (altered(_type={}), "type_unknown"),
        (altered(subject=...), "field_malformed"),
        (altered(subject=None), "field_malformed"),
        (altered(subject=[]), "no_subject"),
        (altered(subject=[{"digest": {"sha256": A}}] * 1025), "too_many_subjects"),
        (altered(subject=["a"]), "field_malformed"),
        (altered(subject=[{"name": "a"}]), "field_malformed"),
        (altered(subject=[{"digest": {}}]), "no_digest"),
        (altered(subject=[{"digest": {"sha256": 1}}]), "field_malformed"),
        (altered(subject=[{"digest": {f"x{n}": "a" for n in range(33)}}]), "too_many_digests"),
        (altered(subject=[{"name": 1, "digest": {"sha256": A}}]), "field_malformed"),
        (altered(subject=[{"name": "a\n", "digest": {"sha256": A}}]), "name_control_character"),
        (altered(subject=[{"other": "a", "digest": {"sha256": A}}]), "field_unknown"),
    ],
)
def test_refuses_to_read(payload: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_statement(payload)
    assert (caught.value.code, caught.value.reason) == ("statement.invalid", reason)


def test_reads_what_others_write() -> None:
    read = parse_statement(
        altered(
            _type="https://in-toto.io/Statement/v0.1",
            subject=[{"uri": "x", "mediaType": "y", "annotations": {}, "digest": {"sha512": A + A}}],
            predicate=...,
        )
    )
    assert read.subjects == (Subject("", {"sha512": A + A}),)
    assert read.predicate is None


@given(st.binary(max_size=60) | predicates.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_statement_or_a_refusal(payload: bytes) -> None:
    with pytest.raises(Refusal, match=r"statement\.invalid"):
        parse_statement(payload)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "digest", "sha256", "x"]), inner, max_size=3)
    ),
)


@given(st.sampled_from(["_type", "subject", "predicateType", "predicate"]), any_json)
def test_any_value_of_a_field_gives_a_statement_or_a_refusal(field: str, value: object) -> None:
    try:
        parse_statement(altered(**{field: value}))
    except Refusal as refusal:
        assert refusal.code == "statement.invalid"  # noqa: PT017  # it may succeed too


@pytest.mark.parametrize("text", ["https://a/b", "urn:x", "a+b:c", "https://stella-ops.org/v@1"])
def test_type_uris(text: str) -> None:
    assert is_type_uri(text)


@pytest.mark.parametrize(
    "text", ["", "stella.ops/vexDecision@v1", ":x", "1a:b", "https://a b", "https://é", "a:\n"]
)
def test_no_type_uris(text: str) -> None:
    assert not is_type_uri(text)
