import pytest

import signerd_key_fido2.backend
from signerd.verification.fido2 import Credential
from signerd_conformance.contracts import KeyBackendContract

RP_ID, ORIGIN = "signer.example", "https://signer.example"


class TestContract(KeyBackendContract):
    plugin = signerd_key_fido2.backend
    scheme = "fido2"

    @pytest.fixture(autouse=True)
    def enrolled_keys(self, authenticator, tmp_path):
        self.place, self.state = authenticator.place, str(tmp_path / "state")
        for reference, algorithm in zip(self.keys(), ("FIDO2-ES256", "FIDO2-Ed25519", "ES256"), strict=True):
            self.backend().enrol(reference, algorithm)

    def settings(self):
        return {"state": self.state, "device": self.place, "rp_id": RP_ID, "origin": ORIGIN}

    def keys(self):
        return ["fido2:first", "fido2:second", "fido2:unwrap/third"]

    def credential(self, reference):
        return Credential(self.backend().describe(reference).spki, RP_ID, ORIGIN, user_verification=False)

    def enrolled(self):
        return "fido2:new"
