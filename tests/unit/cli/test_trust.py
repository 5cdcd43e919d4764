import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fakes.sigstore import Sigstore
from running.configured import configuration
from signerd.cli.main import main

STACK = Sigstore()


def build(base: Path, text: str) -> int:
    file = base / "signerd.toml"
    file.write_text(configuration(base, {}) + text)
    file.chmod(0o600)
    return main(["trust", "build", "--config", str(file), "--out", str(base / "out")])


def placed(base: Path) -> str:
    chain = [each.certificate.public_bytes(Encoding.PEM) for each in (STACK.ca, STACK.root)]
    (base / "chain").write_bytes(b"".join(chain))
    return f'[[trust.fulcio]]\nurl = "https://f"\nchain = "{base}/chain"\nsince = 2026-01-01T00:00:00Z\n'


def test_writes_both_files_for_all_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path, placed(tmp_path)) == 0
    said = capsys.readouterr().err
    for name in ("trusted_root.json", "signing_config.json"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o644
        assert f"wrote {tmp_path}/out/{name}" in said
    assert len(os.listdir(tmp_path / "out")) == 2


def test_without_parts_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path, "") == 2
    assert "at least one part" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_stands_there_stays_when_it_cannot_be_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tmp_path, placed(tmp_path)) == 0
    before = (tmp_path / "out" / "trusted_root.json").read_bytes()
    (tmp_path / "chain").write_bytes(b"")
    assert build(tmp_path, placed(tmp_path).replace("/chain", "/none")) == 2
    assert (tmp_path / "out" / "trusted_root.json").read_bytes() == before
    (tmp_path / "out" / "signing_config.json").unlink()
    (tmp_path / "out" / "signing_config.json").mkdir()
    assert build(tmp_path, placed(tmp_path)) == 2
    assert "Is a directory" in capsys.readouterr().err
    assert len(os.listdir(tmp_path / "out")) == 2  # nothing half-made is left
