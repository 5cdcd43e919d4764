import signerd_predicates_intoto.plugin
from signerd_conformance.contracts import PredicateContract


class TestContract(PredicateContract):
    plugin = signerd_predicates_intoto.plugin

    def documents(self):
        descriptor = {"uri": "https://example.com/", "digest": {"sha256": "00" * 32}}
        return {
            "cyclonedx": {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1},
            "test-result": {"result": "PASSED", "configuration": [descriptor]},
        }
