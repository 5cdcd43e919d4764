import pytest

import signerd_key_gost.backend
from signerd_conformance.contracts import KeyBackendContract

pytestmark = pytest.mark.needs("gost-engine")


class TestContract(KeyBackendContract):
    plugin = signerd_key_gost.backend
    scheme = "gost"

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.place = tmp_path / "keys"
        for reference, size in zip(self.keys(), (256, 512), strict=True):
            self.backend().generate(reference, f"GOST3410-2012-{size}")

    def settings(self):
        return {"directory": str(self.place)}

    def keys(self):
        return ["gost:short", "gost:long"]

    def free(self):
        return "gost:new", "GOST3410-2012-256"
