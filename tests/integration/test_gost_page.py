"""The page on GOST keys is true: what it shows is typed in an empty directory, and OpenSSL's engine agrees."""

from pathlib import Path

import pytest

from integration.test_docs import Shell, blocks, commands, first_column, section
from outside.parts import ROOT
from signerd_key_gost.private_key import PARAMETERS
from signerd_key_gost.settings import _KNOWN

PAGE = ROOT / "docs" / "key-gost.md"


@pytest.mark.needs("gost-engine")
@pytest.mark.timeout(120)
def test_from_an_empty_directory_to_what_openssl_accepts(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o700)
    with Shell(folder, {}) as shell:
        for shown in blocks(PAGE, "console"):
            for command, expected in commands(shown):
                shell.run(command, expected)
    assert (folder / "app.pae").read_bytes().startswith(b"DSSEv1 28 application/vnd.in-toto+json ")


def test_every_setting_is_on_the_page() -> None:
    text = section(PAGE, "Settings")
    assert set(first_column(text)) == {*(_KNOWN - {"keys"}), "keys.NAME"}
    for names in PARAMETERS.values():
        for name in names:
            assert f"`{name}`" in text, name
