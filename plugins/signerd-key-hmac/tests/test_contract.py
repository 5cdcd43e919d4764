import pytest

import signerd_key_hmac.backend
from signerd.attestation.macs import MACS
from signerd_conformance.contracts import MacBackendContract


class TestContract(MacBackendContract):
    plugin = signerd_key_hmac.backend
    scheme = "hmac"

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.place = tmp_path / "secrets"
        for algorithm in MACS:
            self.backend().generate(f"hmac:{algorithm}", algorithm)

    def settings(self):
        return {"directory": str(self.place)}

    def keys(self):
        return [f"hmac:{algorithm}" for algorithm in MACS]

    def free(self):
        return "hmac:new", "HMAC-SHA256"
