"""The page on PKCS#11 tokens is true: what it shows with SoftHSM2 is typed in an empty directory, and said."""

from pathlib import Path

import pytest

from integration.test_docs import Shell, blocks, commands
from outside.parts import ROOT, the

PAGE = ROOT / "docs" / "key-pkcs11.md"


@pytest.mark.needs("softhsm2", "cosign")
@pytest.mark.timeout(120)
def test_from_an_empty_directory_to_what_stock_cosign_accepts(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "cosign").symlink_to(the("cosign"))
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o700)
    (shown,) = blocks(PAGE, "console")
    with Shell(folder, {}) as shell:
        shell.run(f"PATH={programs}:$PATH", "")
        for command, expected in commands(shown):
            shell.run(command, expected)
    assert (folder / "app.bundle.json").exists()
    assert not (folder / "run" / "sign.sock").exists(), "the daemon has ended in order"
