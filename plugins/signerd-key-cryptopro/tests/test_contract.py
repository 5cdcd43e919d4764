import pytest

import signerd_key_cryptopro.backend
from signerd_conformance.contracts import KeyBackendContract

pytestmark = pytest.mark.needs("gost-engine", "gcc")


class TestContract(KeyBackendContract):
    plugin = signerd_key_cryptopro.backend
    scheme = "cryptopro"

    @pytest.fixture(autouse=True)
    def token(self, gost_token):
        gost_token.environment.update(STANDIN_REVERSED="1", STANDIN_WANTS_OID="1")
        gost_token.add("k")
        gost_token.add("l", "TC26-512-A")
        self.gost_token = gost_token

    def settings(self):
        return self.gost_token.settings(tool=self.gost_token.containers("k"))

    def keys(self):
        return ["cryptopro:container=k", "cryptopro:token=gost;object=l"]

    def absent(self):
        return "cryptopro:token=gost;object=absent"
