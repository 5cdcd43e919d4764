from pathlib import Path

import pytest

from fakes.fulcio import FakeFulcio
from signerd.host.config import ConfigError
from signerd.host.config_keyless import Keyless
from signerd.host.keyless_trust import read_trust


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = FakeFulcio().files(tmp_path)
    for file in found:
        file.chmod(0o644)
    return found


def refused(keyless: Keyless) -> str:
    with pytest.raises(ConfigError) as caught:
        read_trust("fulcio:ci", keyless)
    return str(caught.value)


def test_authority_and_logs_are_read(files: tuple[Path, Path]) -> None:
    ca, log = map(str, files)
    trust = read_trust("fulcio:ci", Keyless(ca, ("https://issuer",), (log,)))
    assert len(trust.authority.chain) == 2
    assert trust.ct_logs is not None
    assert len(trust.ct_logs) == 1
    assert read_trust("fulcio:ci", Keyless(ca, ("https://issuer",), None, "none")).ct_logs is None


def test_what_cannot_be_used_is_a_problem_of_the_configuration(files: tuple[Path, Path]) -> None:
    ca, log = map(str, files)
    assert 'keys."fulcio:ci".keyless: the authority' in refused(Keyless(log, ("https://issuer",), (log,)))
    assert "no PEM of a public key" in refused(Keyless(ca, ("https://issuer",), (ca,)))
    assert "readable file" in refused(Keyless(f"{ca}.missing", ("https://issuer",), (log,)))


def test_a_file_that_everybody_may_write_decides_nothing(files: tuple[Path, Path]) -> None:
    ca, log = files
    log.chmod(0o646)
    assert "not everybody may write" in refused(Keyless(str(ca), ("https://issuer",), (str(log),)))
