from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fakes.sigstore import Sigstore
from signerd.errors import Refusal
from signerd_conformance import public_instance
from signerd_conformance.public_instance import bounded, public_file, root_of


def test_the_root_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "root.json"
    file.write_bytes(Sigstore().trusted_root())
    assert len(root_of(file, staging=True).logs) == 2
    file.write_bytes(b"{}")
    with pytest.raises(Refusal, match="trusted_root_media_type"):
        root_of(file, staging=False)
    with pytest.raises(FileNotFoundError):
        root_of(tmp_path / "absent", staging=False)


@pytest.mark.needs("sigstore")
def test_each_instance_has_its_own() -> None:
    assert root_of(None, staging=True).logs != root_of(None, staging=False).logs
    for staging, name in ((False, b"sigstore.dev"), (True, b"sigstage.dev")):
        assert name in public_file("signing_config.v0.2.json", staging, 1 << 20)


@pytest.mark.parametrize(
    ("name", "option"), [("trusted_root.json", "--trusted-root"), ("signing_config.v0.2.json", "--signing-config")]
)
def test_without_sigstore_python(name: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(public_instance, "distribution", missing)
    with pytest.raises(Refusal, match=option) as refused:
        public_file(name, False, 100)
    assert refused.value.reason == "no_trusted_root"


def test_one_byte_over_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert bounded(tmp_path / "file", 3) == b"1234"
