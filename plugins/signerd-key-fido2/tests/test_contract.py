import pytest

import signerd_key_fido2.backend
from signerd.verification.fido2 import Credential
from signerd_conformance.contracts import KeyBackendContract
from signerd_key_fido2.raw import ESP256_SPLIT_ARKG

ALGORITHMS = ("FIDO2-ES256", "FIDO2-Ed25519", "ES256", "ES256")
RP_ID, ORIGIN = "signer.example", "https://signer.example"


class TestContract(KeyBackendContract):
    plugin = signerd_key_fido2.backend
    scheme = "fido2"

    @pytest.fixture(autouse=True)
    def enrolled_keys(self, authenticator, tmp_path):
        authenticator.extensions = ("hmac-secret", "previewSign")
        self.place, self.state = authenticator.place, str(tmp_path / "state")
        for reference, algorithm in zip(self.keys(), ALGORITHMS, strict=True):
            self.backend().enrol(reference, algorithm)

    def settings(self):
        return {"state": self.state, "device": self.place, "rp_id": RP_ID, "origin": ORIGIN, "raw_sign": True}

    def keys(self):
        return ["fido2:first", "fido2:second", "fido2:unwrap/third", "fido2:raw/fourth"]

    def credential(self, reference):
        return Credential(self.backend().describe(reference).spki, RP_ID, ORIGIN, user_verification=False)

    def enrolled(self):
        return "fido2:new"


class TestRawContract(TestContract):
    """By the way in which an authenticator offers it that derives its keys."""

    @pytest.fixture(autouse=True)
    def enrolled_keys(self, authenticator, tmp_path):
        authenticator.extensions, authenticator.raw_algorithms = ("previewSign",), (ESP256_SPLIT_ARKG,)
        self.place, self.state = authenticator.place, str(tmp_path / "state")
        for reference in self.keys():
            self.backend().enrol(reference, "ES256")

    def keys(self):
        return ["fido2:raw/first", "fido2:raw/second"]

    def enrolled(self):
        return "fido2:raw/new"
