import json

import pytest

from signerd.attestation.canonical import canonicalise
from signerd.errors import Fault
from signerd.sealer.presence_leaf import counters_of, presence_leaf


def leaf(approval="a1", keyid="sha256:k", counter=7):
    return presence_leaf(
        approval, ("fido2:alice", keyid), ("acme", "uid:1"), ("11" * 32, "22" * 32), counter, b"\x84assertion", 1234
    )


def test_the_leaf_holds_the_evidence_under_the_approval_s_own_id():
    made = leaf()
    assert (made.audit_id, made.kind, made.tenant, made.time) == ("a1", "presence", "acme", 1234)
    assert json.loads(made.text) == {
        "approval_id": "a1",
        "assertion": "hGFzc2VydGlvbg==",
        "counter": 7,
        "key": "fido2:alice",
        "keyid": "sha256:k",
        "kind": "presence",
        "pae_sha256": "22" * 32,
        "principal": "uid:1",
        "statement_sha256": "11" * 32,
        "tenant": "acme",
        "time": 1234,
        "v": 1,
    }
    assert canonicalise(made.text).text == made.text


def test_the_highest_counter_of_each_credential_counts():
    leaves = [leaf(counter=3), leaf(counter=9), leaf(counter=5), leaf(keyid="sha256:other", counter=0)]
    assert counters_of(each.text for each in leaves) == {"sha256:k": 9, "sha256:other": 0}
    assert counters_of([]) == {}


@pytest.mark.parametrize("text", [b"", b"{}", b'{"keyid":"k","counter":"1"}', b'{"keyid":"\xff","counter":1}'])
def test_what_is_no_such_leaf_stops_the_start(text):
    with pytest.raises(Fault) as caught:
        counters_of([text])
    assert (caught.value.code, caught.value.reason) == ("audit.unavailable", "corrupt")
