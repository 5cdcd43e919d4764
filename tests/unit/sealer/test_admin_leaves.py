import json

import pytest
import rfc8785

from signerd.errors import Fault
from signerd.sealer.admin_leaves import approval_leaf, request_facts, request_id, ring_change, ring_leaf
from signerd.wire.ceremonies import Ceremony
from signerd.wire.ring import RingChange, RingEntry

CEREMONY = Ceremony(
    ceremony="0" * 32,
    operation="keys.revoke",
    payload=b'{"key":"file:default"}',
    payload_sha256="f" * 64,
    requester="alice",
    requester_uid=1001,
    requested_at=1,
    expires_at=2,
    state="open",
    needed=2,
    approved_by=(),
    message=b"{}",
)


def test_leaves_of_a_ceremony_byte_for_byte():
    requested = approval_leaf("requested", CEREMONY, "alice", 1001, 5)
    assert requested.text == (
        b'{"by":"alice","ceremony":"' + b"0" * 32 + b'","change":"requested","expires_at":2,"kind":"approval",'
        b'"needed":2,"operation":"keys.revoke","payload":{"key":"file:default"},"payload_sha256":"' + b"f" * 64
        + b'","time":5,"uid":1001,"v":1}'
    )  # fmt: skip
    approved = approval_leaf("approved", CEREMONY, "bob", 500, 6, "SHA256:x")
    assert approved.text == (
        b'{"by":"bob","ceremony":"' + b"0" * 32 + b'","change":"approved","key":"SHA256:x","kind":"approval",'
        b'"operation":"keys.revoke","payload_sha256":"' + b"f" * 64 + b'","time":6,"uid":500,"v":1}'
    )
    for leaf in (requested, approved):
        assert (leaf.kind, leaf.tenant) == ("approval", "")
        assert rfc8785.dumps(json.loads(leaf.text)) == leaf.text
    assert (requested.audit_id, approved.audit_id) == (request_id(CEREMONY.ceremony), "")
    said = (CEREMONY.ceremony, "keys.revoke", "f" * 64, "alice", 1001, 5, 2)
    assert request_facts(requested.text) == said
    assert not requested.audit_id.isalnum(), "a front end's ids are, so that none takes its place"
    for text in (b"{}", b"\xff"):
        with pytest.raises(Fault, match="unavailable"):
            request_facts(text)


@pytest.mark.parametrize("end", ["used", "expired", "withdrawn"])
def test_the_log_takes_one_end_of_a_ceremony(end):
    assert approval_leaf(end, CEREMONY, "alice", 1001, 5).audit_id == CEREMONY.ceremony


def test_a_ring_leaf_belongs_to_no_record_and_reads_back():
    entry = RingEntry("file:default", "local", 1, "sha256:00", "ES256", b"\x30\x59", "generated", "active", 5)
    ring = ring_leaf("generate", entry, 6)
    assert (ring.audit_id, ring.tenant) == ("", "local")
    assert json.loads(ring.text)["entry"]["spki"] == "MFk="
    assert ring_change(ring.text) == RingChange("generate", entry, 6)
    ordered = ring_leaf("revoke", entry, 6, "uid:0", "stolen")
    assert ring_change(ordered.text) == RingChange("revoke", entry, 6, "uid:0", "stolen")
