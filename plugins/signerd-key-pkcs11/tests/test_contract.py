import pytest

import signerd_key_pkcs11.backend
from signerd_conformance.contracts import KeyBackendContract

pytestmark = pytest.mark.needs("softhsm2")
TOKEN = "pkcs11:token=demo;object="


class TestContract(KeyBackendContract):
    plugin = signerd_key_pkcs11.backend
    scheme = "pkcs11"

    @pytest.fixture(autouse=True)
    def token(self, hsm):
        self.hsm = hsm
        for reference, algorithm in zip(self.keys(), ("ES256", "RSA-PKCS1-SHA256"), strict=True):
            self.backend().generate(reference, algorithm)

    def settings(self):
        return self.hsm.settings()

    def keys(self):
        return [f"{TOKEN}first", f"{TOKEN}second"]

    def absent(self):
        return f"{TOKEN}absent"

    def free(self):
        return f"{TOKEN}new", "ES256"
