import signerd_entitlement_file.plugin
from signerd.contracts.values import Principal
from signerd_conformance.contracts import EntitlementContract


class TestContract(EntitlementContract):
    plugin = signerd_entitlement_file.plugin

    def settings(self):
        return {"tenants": {"acme": {"plan": "default"}}}

    def entitled(self):
        return Principal("build", "acme", frozenset(), "auth-peercred")

    def unknown(self):
        return Principal("build", "nobody", frozenset(), "auth-peercred")
