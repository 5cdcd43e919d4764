import signerd_release_allowlist.plugin
from signerd_conformance.contracts import ReleaseCheckContract

LISTED = "sha256:" + "ab" * 32


class TestContract(ReleaseCheckContract):
    plugin = signerd_release_allowlist.plugin

    def settings(self):
        return {"releases": [{"digest": LISTED, "version": "2026.11"}]}

    def genuine(self):
        return LISTED
