import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd_conformance.evidence import Evidence, at, fields_of, listed


def test_reads_on_behind_a_flaw() -> None:
    evidence = Evidence.read(b'{"mediaType":"a","mediaType":"b","dsseEnvelope":{"payload":"e30"}}')
    assert evidence.flaw == "duplicate_key"
    assert at(evidence.bundle, "mediaType") == "b"
    assert (evidence.payload, evidence.statement, evidence.statement_flaw) == (b"{}", {}, None)


@pytest.mark.parametrize(
    ("text", "flaw"), [(b"", "not_json"), (b"[]", "not_object"), (b"[" * 5000, "too_deep")]
)
def test_gives_up_where_there_is_nothing(text: bytes, flaw: str) -> None:
    evidence = Evidence.read(text)
    assert (evidence.flaw, evidence.bundle, evidence.statement_flaw) == (flaw, None, "no payload")
    assert (evidence.hint, evidence.keyid, evidence.signature) == (None, None, None)
    assert evidence.log_entries == evidence.timestamps == evidence.subjects == []


def test_does_not_look_into_what_is_too_large() -> None:
    assert Evidence.read(b" " * (LARGEST_BUNDLE + 1)).flaw == "bundle_too_large"


def test_an_absent_hint_is_empty_and_an_absent_key_is_none() -> None:
    def hint(material: object) -> str | None:
        return Evidence.read(json.dumps({"verificationMaterial": material}).encode()).hint

    assert hint({"publicKey": {}}) == ""
    assert hint({"publicKey": {"hint": "h"}}) == "h"
    assert hint({"publicKey": {"hint": 1}}) == ""
    assert hint({"certificate": {}}) is None


def test_follows_keys_and_indices() -> None:
    assert at({"a": [{"b": 1}]}, "a", 0, "b") == 1
    assert at({"a": [1]}, "a", 1) is None
    assert at([1], "a") is None
    assert at({"a": 1}, 0) is None
    assert listed({}) == []


def test_walks_by_shape_and_stops_at_the_unknown() -> None:
    bundle = {
        "dsseEnvelope": {"x": {"y": 1}, "signatures": [{"sig": "s"}, {"z": 1}], "payload": 1},
        "mediaType": None,
    }
    assert {field.pointer: field.sound for field in fields_of(bundle)} == {
        "/dsseEnvelope": True,
        "/dsseEnvelope/x": False,
        "/dsseEnvelope/signatures": True,
        "/dsseEnvelope/signatures/0/sig": True,
        "/dsseEnvelope/signatures/1/z": False,
        "/dsseEnvelope/payload": False,
        "/mediaType": True,
    }


@given(
    st.recursive(
        st.none() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["dsseEnvelope", "signatures", "sig", "verificationMaterial", "tlogEntries"]),
                inner,
            )
        ),
    )
)
def test_walks_anything(value: object) -> None:  # fmt: skip
    assert all(field.pointer.endswith(field.name) for field in fields_of(value))
