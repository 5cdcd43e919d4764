import signerd_predicates_stella.plugin
from signerd_conformance.contracts import PredicateContract

DIGEST = "sha256:" + "00" * 32
REPORT = {"report": {"format": "text", "digest": DIGEST}, "policy": {"digest": DIGEST, "viewSet": "all"}}

REPLAY = {
    "schemaVersion": "1.0",
    "scan": {"id": "7", "time": "2024-01-01T00:00:00Z", "mode": "m", "scannerVersion": "1", "cryptoProfile": "world"},
    "subject": {"ociDigest": DIGEST, "layers": [{"layerDigest": DIGEST, "merkleRoot": "00", "leafCount": 1}]},
    "inputs": {"feeds": []},
}


class TestContract(PredicateContract):
    plugin = signerd_predicates_stella.plugin

    def documents(self):
        return {"report": REPORT, "replay": REPLAY}


class TestAliases(TestContract):
    def settings(self):
        return {"predicate_uri": "alias"}
