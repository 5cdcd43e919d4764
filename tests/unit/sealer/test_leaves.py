import json
import time
from hashlib import sha256

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from signerd.sealer.admin_leaves import ring_leaf
from signerd.sealer.leaves import PluginFacts, decided_leaf, decision_digest, outcome_leaf, refused_leaf, start_leaf
from signerd.wire.links import DecisionFacts, KeyUse, PeerFacts, RefusedRecord, ReleaseFacts, RequestFacts, SubjectFacts
from signerd.wire.ring import RingEntry

REQUEST = RequestFacts(
    method="sign.dsse",
    peer=PeerFacts(uid=1000, pid=42),
    tenant="local",
    principal="uid:1000",
    subjects=(SubjectFacts("artefact", "a" * 64),),
    subject_count=1,
    predicate_type="https://cyclonedx.org/bom",
)
DECISION = DecisionFacts(
    principal="uid:1000",
    tenant="local",
    plan="embedded",
    release=ReleaseFacts("asserted", "allowlist", "trusted"),
    keys=(KeyUse("file:default", "tenant_default", "sha256:" + "b" * 64, 1),),
)
# Whatever text a caller gets into a leaf, control and non-BMP characters included; msgpack carries no lone
# surrogate.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def test_a_decided_leaf_byte_for_byte():
    leaf, digest = decided_leaf(
        REQUEST, DECISION, "01A", "c" * 64, "application/vnd.in-toto+json", 1_700_000_000_000
    )
    decision = (
        '{"degraded":[],"keys":[{"key":"file:default","keyid":"sha256:'
        + "b" * 64
        + '","source":"tenant_default",'
        '"version":1}],"plan":"embedded","principal":"uid:1000","release":{"binding":"asserted","how":"allowlist",'
        '"verdict":"trusted"},"tenant":"local"}'
    )
    assert leaf.text.decode() == (
        '{"audit_id":"01A","decision":' + decision + ',"kind":"decided",'
        '"payload_type":"application/vnd.in-toto+json","request":{"method":"sign.dsse","peer":{"pid":42,"uid":1000},'
        '"predicate_type":"https://cyclonedx.org/bom","principal":"uid:1000","subject_count":1,'
        '"subjects":[{"name":"artefact","sha256":"' + "a" * 64 + '"}],"tenant":"local"},'
        '"statement_sha256":"' + "c" * 64 + '","time":1700000000000,"v":1}'
    )
    assert digest == sha256(decision.encode()).hexdigest() == decision_digest(DECISION)
    assert (leaf.audit_id, leaf.kind, leaf.tenant, leaf.time) == (
        "01A",
        "decided",
        "local",
        1_700_000_000_000,
    )


def test_the_receipts_object_hashes_to_the_same_digest():
    _, digest = decided_leaf(REQUEST, DECISION, "01A", "c" * 64, "t", 1)
    assert sha256(rfc8785.dumps(msgspec.to_builtins(DECISION))).hexdigest() == digest


@given(TEXT, TEXT, TEXT, st.integers(0, 2**53 - 1))
def test_every_leaf_is_rfc_8785(name, principal, code, when):
    request = RequestFacts(
        "sign.dsse", PeerFacts(0, 1, name), principal=principal, subjects=(SubjectFacts(name, code),)
    )
    entry = RingEntry(name, principal, 1, code, "ES256", name.encode(), "file", "active", when)
    for leaf in (
        decided_leaf(request, msgspec.structs.replace(DECISION, principal=principal), name, code, name, when)[
            0
        ],
        outcome_leaf(name, principal, when, "signed", code, (name, code)),
        refused_leaf(RefusedRecord(name, request, "refused", code, principal, 3), when),
        ring_leaf("generate", entry, when),
        start_leaf(name, [PluginFacts(name, code, principal)], when),
    ):
        assert leaf.text == rfc8785.dumps(json.loads(leaf.text))


def test_empty_fields_are_absent():
    refused = json.loads(
        refused_leaf(
            RefusedRecord("01B", RequestFacts("x", PeerFacts(7, 8)), "refused", "auth.required", "none"), 5
        ).text
    )
    assert refused == {
        "audit_id": "01B", "code": "auth.required", "kind": "refused", "outcome": "refused", "reason": "none",
        "request": {"method": "x", "peer": {"pid": 8, "uid": 7}}, "time": 5, "v": 1,
    }  # fmt: skip
    assert json.loads(outcome_leaf("01C", "t", 5, "unknown").text) == {
        "audit_id": "01C", "kind": "outcome", "outcome": "unknown", "tenant": "t", "time": 5, "v": 1,
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 500])
def test_an_aggregate_says_how_many(count):
    refusal = RefusedRecord("01B", REQUEST, "refused", "quota.rate", "rate", count)
    assert json.loads(refused_leaf(refusal, 5).text).get("count", 1) == count


def test_a_start_leaf_belongs_to_no_record():
    start = start_leaf("0.1.0", [PluginFacts("p", "1", "sha256:11")], 7)
    assert (start.audit_id, start.tenant) == ("", "")
    assert json.loads(start.text)["plugins"] == [{"digest": "sha256:11", "name": "p", "version": "1"}]
    certified = start_leaf("1", [PluginFacts("p", "1", "sha256:11", "sha256:22")], 5)
    assert json.loads(certified.text)["plugins"][0]["certificate"] == "sha256:22"


def test_a_decided_leaf_costs_little():
    def once():
        began = time.perf_counter()
        for _ in range(1000):
            decided_leaf(REQUEST, DECISION, "01A", "c" * 64, "application/vnd.in-toto+json", 1)
        return time.perf_counter() - began

    # 1,000 leaves: the budget is 6 µs each; the best of many, since the machine may be busy with other
    # things.
    assert min(once() for _ in range(15)) < 0.006
