import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import signerd_client
from signerd.wire.messages import Error
from signerd_client.cli import main, parser

HEAVY = {"anyio", "trio", "asyncio", "cryptography", "jsonschema_rs", "rfc8785", "importlib.metadata"}


def loaded_by(*arguments: str) -> tuple[int, set[str]]:
    """Run the command in an interpreter of its own; return its exit code and the modules that it loaded."""
    code = (
        "import json, sys\n"
        "from signerd_client.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path[:0] = " + repr(sys.path) + "\n" + code, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    status, modules = json.loads(run.stderr.splitlines()[-1])
    return status, set(modules)


def heavy(modules: set[str], baseline: set[str]) -> set[str]:
    return {name for name in modules - baseline if name in HEAVY or name.split(".")[0] in HEAVY}


@pytest.fixture(scope="module")
def baseline() -> set[str]:
    """What an interpreter of this environment has loaded before any of our code."""
    run = subprocess.run(
        [sys.executable, "-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(run.stdout))


def test_version_loads_argparse_and_nothing_else(baseline: set[str]) -> None:
    status, modules = loaded_by("--version")
    assert status == 0
    assert not heavy(modules, baseline)
    assert "msgspec" not in modules - baseline
    assert "signerd.wire" not in modules


def test_keys_loads_nothing_heavy(
    baseline: set[str], answering: Callable[..., Path], respond: Callable[..., Any]
) -> None:
    path = answering(lambda request, _: [respond(request, {"keys": []})])
    status, modules = loaded_by("keys", "--socket", str(path))
    assert status == 0
    assert not heavy(modules, baseline)
    assert "signerd.verification" not in modules
    assert "signerd.attestation" not in modules


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    import tomllib

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"signerctl {signerd_client.__version__}\n"
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == signerd_client.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["sign"],
        ["sign", "sbom"],
        ["sign", "sbom", "f"],
        ["sign", "statement", "--subject", "a", "--type", "t"],
        ["sign", "batch"],
        ["verify"],
        ["keys", "a", "b"],
        ["keys", "--outp", "json"],
        ["info", "--output", "xml"],
        ["info", "--server-uid", "me"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: signerctl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["sign", "--help"],
        *(["sign", kind, "--help"] for kind in ("statement", "sbom", "vex", "report", "batch")),
        ["verify", "--help"],
        ["keys", "--help"],
        ["info", "--help"],
    ],
)
def test_every_command_has_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: signerctl")


def test_options_may_stand_before_or_after_the_command() -> None:
    before = parser().parse_args(["--socket", "/s", "--deadline", "2.5", "--output", "json", "info"])
    after = parser().parse_args(["info", "--socket", "/s", "--deadline", "2.5", "--output", "json"])
    assert vars(before) == vars(after)
    assert after.socket == "/s"


def test_errors_are_a_line_on_stderr_with_the_exit_code_of_their_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "--socket", str(tmp_path / "a\x1bb.sock")]) == 10
    err = capsys.readouterr().err
    assert err.startswith("signerctl: daemon.draining (unreachable): ")
    assert "\x1b" not in err
    assert "\\x1b" in err
    link = tmp_path / "link"
    link.symlink_to("x")
    assert main(["info", "--socket", str(link)]) == 3


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("signerd_client.commands.info.run", interrupted)
    assert main(["info"]) == 130


def test_a_reader_that_goes_away_is_no_traceback(
    answering: Callable[..., Path], respond: Callable[..., Any]
) -> None:
    path = answering(lambda request, _: [respond(request, {"keys": []})])
    code = "import sys; sys.path[:0] = " + repr(sys.path)
    code += "\nfrom signerd_client.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, "keys", "--socket", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 1


@pytest.mark.parametrize(
    ("code", "reason", "added"),
    [
        ("release.untrusted", "digest_missing", "signerctl: --release names it\n"),
        ("key.forbidden", "ephemeral", "signerctl: --transparency or --timestamp asks for one\n"),
        ("key.forbidden", "other", ""),
    ],
)
def test_a_refusal_says_which_option_was_forgotten(
    code: str, reason: str, added: str, answering: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = answering(lambda request, _: [Error(code, "no", False, request.id, details={"reason": reason})])
    assert main(["keys", "--socket", str(path)]) == 3
    assert capsys.readouterr().err == f"signerctl: {code} ({reason}): no\n{added}"
