import json

from fakes.sigstore import Sigstore, jcs
from signerd.attestation.canonical import canonicalise
from signerd.attestation.log_entry import parse_log_entry
from signerd.sealer.later_leaves import FoundEntry, LookedUp, looked_up_leaf, published_leaf, unpublished_leaf

ENTRY = parse_log_entry(jcs(Sigstore().entry2({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}})))


def test_they_are_rfc8785_and_name_the_record() -> None:
    found = LookedUp("found", (FoundEntry("e", "k", "l", 4),), 0, 9)
    leaves = [
        published_leaf("id", "acme", "log", "k", "b", ENTRY, 1),
        unpublished_leaf("id", "acme", "log", "k", "b", 5, 1),
        looked_up_leaf("id", "acme", "log", found, 1),
    ]
    for leaf in leaves:
        told = json.loads(leaf.text)
        assert canonicalise(leaf.text).text == leaf.text
        assert (leaf.audit_id, leaf.tenant, leaf.kind) == ("", "acme", told["kind"])
        assert (told["record"], told["tenant"], told["publisher"], told["v"]) == ("id", "acme", "log", 1)


def test_what_was_not_looked_at_has_no_range() -> None:
    told = json.loads(looked_up_leaf("id", "acme", "log", LookedUp("not_looked", reason="log_cannot_look"), 1).text)
    assert (told["state"], told["reason"]) == ("not_looked", "log_cannot_look")
    assert not {"first", "size", "entries"} & told.keys()
    absent = json.loads(looked_up_leaf("id", "acme", "log", LookedUp("absent", (), 0, 9), 1).text)
    assert (absent["first"], absent["size"]) == (0, 9)
