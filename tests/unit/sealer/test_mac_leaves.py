import json

from fakes.sealing import NOW
from signerd.attestation.canonical import canonical_json
from signerd.sealer.mac_leaves import decided_mac_leaf
from signerd.wire.links import KeyUse, PeerFacts, RequestFacts
from signerd.wire.mac_links import MacDecision, MacItem


def test_a_leaf_says_who_may_use_which_key_for_what_and_nothing_of_the_data() -> None:
    use = KeyUse("hmac:k", "hmac", "sha256:ab", 2)
    decision = MacDecision("uid:1", "acme", "default", use, "HMAC-SM3", "signing", 6)
    facts = RequestFacts("hmac.verify", PeerFacts(1, 2), "acme", "uid:1", purpose="signing", key="hmac:k")
    leaf = decided_mac_leaf(MacItem("id1", facts, decision, b"secret", 5, b"secret mac"), NOW)
    assert (leaf.audit_id, leaf.kind, leaf.tenant, leaf.time) == ("id1", "decided", "acme", NOW)
    read = json.loads(leaf.text)
    assert leaf.text == canonical_json(read)
    assert read["decision"] == {
        "algorithm": "HMAC-SM3", "key": {"key": "hmac:k", "keyid": "sha256:ab", "source": "hmac", "version": 2},
        "plan": "default", "principal": "uid:1", "purpose": "signing", "size": 6, "tenant": "acme",
    }  # fmt: skip
    assert (read["kind"], read["v"], read["request"]["method"]) == ("decided", 1, "hmac.verify")
    assert b"secret" not in leaf.text
