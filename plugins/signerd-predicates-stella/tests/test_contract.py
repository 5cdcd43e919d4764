import signerd_predicates_stella.plugin
from signerd_conformance.contracts import PredicateContract

DIGEST = "sha256:" + "00" * 32
REPORT = {"report": {"format": "text", "digest": DIGEST}, "policy": {"digest": DIGEST, "viewSet": "all"}}


class TestContract(PredicateContract):
    plugin = signerd_predicates_stella.plugin

    def documents(self):
        return {"report": REPORT}


class TestAliases(TestContract):
    def settings(self):
        return {"predicate_uri": "alias"}
