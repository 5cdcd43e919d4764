from collections.abc import Iterator
from pathlib import Path

import pytest

import signerd_key_fulcio.backend
from fakes.fulcio import ISSUER, FakeFulcio, fake_fulcio, jwt
from signerd_conformance.contracts import KeyBackendContract


class TestContract(KeyBackendContract):
    plugin = signerd_key_fulcio.backend
    scheme = "fulcio"

    @pytest.fixture(autouse=True)
    def authority(self, tmp_path: Path) -> Iterator[None]:
        self.place = tmp_path
        (tmp_path / "token").write_text(jwt())
        with fake_fulcio() as self.fulcio:
            yield

    fulcio: FakeFulcio

    def settings(self):
        keys = {"ci": {"token": f"file:{self.place}/token", "issuers": [ISSUER]}}
        return self.fulcio.settings(self.place, keys=keys)

    def keys(self):
        return ["fulcio:ci"]
