"""The page for authors of key backends is true: from an empty directory, all that it shows is typed and said.

The distributions are wheels of this clone, installed by pip into an environment of their own. What they need from
others is lent from the one that runs the tests, so that no network is asked.
"""

import json
import re
from pathlib import Path

import pytest

from integration.test_docs import Shell, blocks, commands
from outside.parts import ROOT
from running.outsider import offline
from signerd_conformance.backend import CASES

PAGE = ROOT / "docs" / "writing-a-key-backend.md"
HOME = "/srv/signerd-key-seed"
FILES = {
    name: text for text, name in re.findall(r"^```\w+\n(# (\S+)\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
}


def write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FILES[name].replace(HOME, str(folder)))
        file.chmod(0o644)


@pytest.mark.timeout(300)
def test_from_an_empty_directory_to_a_verified_signature(wheels: Path, lent: Path, tmp_path: Path) -> None:
    assert set(FILES) == {"pyproject.toml", "signerd_key_seed/backend.py", "tests/test_contract.py", "signerd.toml"}
    environment = {**offline(wheels), "PYTHONPATH": str(lent)}
    needed, built, judged, served, signed, certified = blocks(PAGE, "console")
    folder = tmp_path / "signerd-key-seed"
    with Shell(tmp_path, environment) as shell:
        shell.run("umask 022", "")
        for block in (needed, built, judged, served, signed, certified):
            for command, expected in commands(block):
                shell.run(command, expected)
            if block is needed:
                write(folder, *FILES)
                (folder / "signerd_key_seed" / "__init__.py").touch()
                (folder / "run").mkdir(mode=0o700)
        installed = next((folder / "venv").glob("lib/python3*/site-packages"))
        assert (installed / "signerd_key_seed" / "backend.py").read_text() == FILES["signerd_key_seed/backend.py"]
        assert {path.name for path in installed.glob("signerd*.dist-info")} >= {
            "signerd-0.1.0.dist-info", "signerd_conformance-0.1.0.dist-info", "signerd_key_seed-1.0.dist-info",
        }  # fmt: skip
    report = json.loads((folder / "report.json").read_text())
    assert {case["name"]: case["status"] for case in report["cases"]} == {
        case.name: "skip" if case.name in ("rotate", "sign-der") else "ok" for case in CASES
    }
    assert (folder / "app.bundle.json").exists()
    assert (folder / "certified.bundle.json").exists()
    assert not (folder / "run" / "sign.sock").exists(), "the daemon has ended in order"
