import pytest

import signerd_key_file.backend
from signerd_conformance.contracts import KeyBackendContract


class TestContract(KeyBackendContract):
    plugin = signerd_key_file.backend
    scheme = "file"

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.place = tmp_path / "keys"
        for number, algorithm in enumerate(("ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256")):
            self.backend().generate(f"file:{number}", algorithm)

    def settings(self):
        return {"directory": str(self.place)}

    def keys(self):
        return [f"file:{number}" for number in range(5)]

    def free(self):
        return "file:new", "ES256"
