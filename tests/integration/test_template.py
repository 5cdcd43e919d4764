"""The template makes a key backend as somebody outside would: without the clone's environment, from signerd's wheels.

Other people's packages are lent to the new environment, so that no network is asked.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from flit_core.config import read_flit_config  # type: ignore[import-untyped]  # it ships no types

from integration.test_docs import Shell, blocks, commands, first_column, type_all
from outside.parts import ROOT, the
from running.daemon import RELEASE
from running.outsider import offline

TEMPLATE = ROOT / "conformance" / "template"
NAME, PACKAGE = "acme-signer-vault", "acme_signer_vault"
ANSWERS = {
    "distribution": NAME,
    "scheme": "vault",
    "description": "Keys of Acme",
    "author": "Zoë O'Hara & Sons",
    "licence": "MIT",
}
CONFIGURATION = """
[daemon]
state = "{folder}/state"
[sockets.sign]
path = "{folder}/run/sign.sock"
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
[plugins.predicates-intoto]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{release}" }}]
[tenants.local]
keys = ["vault:release"]
"""
SIGNED = f"""
$ pip install --quiet signerd-client signerd-auth-peercred signerd-entitlement-file
$ pip install --quiet signerd-release-allowlist signerd-predicates-intoto
$ signerd check --config signerd.toml
signerd.toml: ok
$ signerd serve --config signerd.toml &
ready unix:…
$ export SIGNERD_SOCKET=$PWD/run/sign.sock
$ signerctl keys vault:release --public key.pub
…
$ echo artefact > app
$ echo '{{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}}' > sbom.json
$ signerctl sign sbom sbom.json --subject app --release {RELEASE} --out app.bundle.json
verify: …
$ signerctl verify app.bundle.json --subject app --key key.pub --type https://cyclonedx.org/bom
…
verified
$ kill %1
"""


def render(folder: Path, **answers: str) -> subprocess.CompletedProcess[str]:
    """Have cookiecutter make the distribution of these answers in ``folder``."""
    command: list[str | Path] = [sys.executable, "-m", "cookiecutter", "--no-input", "--output-dir", folder, TEMPLATE]
    command += [f"{name}={text}" for name, text in answers.items()]
    own = {**os.environ, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution's folder, after what the template's own page has one type."""
    outside = tmp_path_factory.mktemp("outside")
    with Shell(outside, {"CLONE": str(ROOT), "LC_ALL": "C.UTF-8"}) as shell:
        assert type_all(shell, TEMPLATE / "README.md") == 2
    return outside / NAME


@pytest.fixture(scope="module")
def signed(made: Path, wheels: Path, lent: Path) -> Path:
    """The folder after all that its README has one type, and after a daemon with this backend has signed there."""
    (served,) = blocks(made / "README.md", "toml")
    config = CONFIGURATION.format(folder=made, release=RELEASE)
    (made / "signerd.toml").write_text(config + served.replace("/var/lib/signerd/vault", f"{made}/keys"))
    (made / "signerd.toml").chmod(0o600)
    (made / "run").mkdir(mode=0o700)
    with Shell(made, offline(wheels)) as shell:
        for block in (*blocks(made / "README.md", "console"), SIGNED):
            for command, expected in commands(block):
                shell.run(command, expected)
                if command.startswith("python3 -m venv"):
                    (site,) = (made / "venv").glob("lib/python3*/site-packages")
                    (site / "lent.pth").write_text(f"{lent}\n")
    return made


def test_nothing_is_left_to_be_filled_in(made: Path) -> None:
    written = [path for path in made.rglob("*") if path.is_file() and "venv" not in path.parts]
    assert {str(path.relative_to(made)) for path in written} >= {"README.md", "pyproject.toml", f"{PACKAGE}/backend.py"}
    for path in (made / "README.md", made / "pyproject.toml", *made.glob("tests/*.py"), *made.glob(f"{PACKAGE}/*.py")):
        assert not re.search(r"\{[{%#]|cookiecutter", path.read_text()), path.name
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["license"]) == (NAME, "MIT")
    assert project["authors"] == [{"name": ANSWERS["author"]}]
    assert project["entry-points"]["signerd.key_backends.v1"] == {"vault": f"{PACKAGE}.backend"}


def test_it_is_clean_by_the_checks_of_this_repository(made: Path) -> None:
    for command in (
        ["ruff", "check", "--no-cache", "--config", ROOT / "pyproject.toml", "--ignore", "INP001", made],
        ["mypy", "--strict", "--cache-dir", os.devnull, PACKAGE],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=made, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_it_is_built_tested_and_judged_and_signs_in_a_daemon(signed: Path) -> None:
    (site,) = (signed / "venv").glob("lib/python3*/site-packages")
    backend = (signed / PACKAGE / "backend.py").read_text()
    assert (site / PACKAGE / "backend.py").read_text() == backend
    assert f"{PACKAGE}-0.1.0.dist-info" in {path.name for path in site.iterdir()}
    assert not any(path.name.startswith("signerd_key") for path in site.iterdir()), "its own key is the one that signs"
    bundle = json.loads((signed / "app.bundle.json").read_text())
    assert bundle["dsseEnvelope"]["signatures"]
    assert not (signed / "run" / "sign.sock").exists(), "the daemon has ended in order"


@pytest.mark.needs("cosign")
@pytest.mark.timeout(300)
def test_stock_cosign_accepts_what_it_signed(signed: Path) -> None:
    command: list[str | Path] = [the("cosign"), "verify-blob-attestation", "--key", "key.pub"]
    command += ["--bundle", "app.bundle.json", "--insecure-ignore-tlog", "--type", "https://cyclonedx.org/bom", "app"]
    nowhere = {"HOME": str(signed / "home"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    own = {**os.environ, **nowhere}
    done = subprocess.run(command, cwd=signed, env=own, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


# Answers.


def judged(**answers: str) -> subprocess.CompletedProcess[str]:
    """What the template's hook says to answers, run as cookiecutter runs it."""
    hook = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text()
    assert hook.count("{{") == 1
    text = hook.replace("{{ cookiecutter | jsonify }}", json.dumps({**ANSWERS, **answers}))
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        *(("distribution", text) for text in ("", "Acme", "a_b", "a--b", "1a", "-a", "a-", "../a", "a\n", "a" * 65)),
        *(("distribution", text) for text in ("signerd", "signerd-key-file", "class", "json", "tests")),
        *(("scheme", text) for text in ("", "File", "a b", "a:b", "a/b", "1a", "vault\n", "a" * 33, "file", "pkcs11")),
        *(("description", text) for text in ("", " ", 'a "b"', "a\\b", "a\nb", "a" * 201)),
        *(("author", text) for text in ("", '"""', "\0", "a\u2028b")),
    ],
)
def test_an_answer_that_will_not_do_is_refused(field: str, answer: str) -> None:
    done = judged(**{field: answer})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{field}: ")
    assert "Traceback" not in done.stderr


def test_answers_that_will_do_are_taken() -> None:
    done = judged()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("field", "answer", "says"), [("scheme", "file", "scheme: file is"), ("licence", "WTFPL-0", "licence")]
)
def test_nothing_is_made_of_wrong_answers(field: str, answer: str, says: str, tmp_path: Path) -> None:
    done = render(tmp_path, **{**ANSWERS, field: answer})
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
    assert not (tmp_path / NAME).exists()


def test_every_question_is_explained() -> None:
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    asked = [name for name in questions if not name.startswith("_")]
    assert first_column((TEMPLATE / "README.md").read_text()) == asked
    assert list(questions["__prompts__"]) == asked == list(ANSWERS)


def test_each_licence_is_one_that_a_build_takes(made: Path, tmp_path: Path) -> None:
    questions: dict[str, Any] = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    text = (made / "pyproject.toml").read_text()
    (tmp_path / f"{PACKAGE}.py").write_text('"""Keys."""')
    for licence in questions["licence"]:
        (tmp_path / "pyproject.toml").write_text(text.replace('"MIT"', f'"{licence}"'))
        assert read_flit_config(tmp_path / "pyproject.toml").metadata["license_expression"] == licence
