import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from outside.parts import the
from signerd.attestation.bundle import keyful_bundle
from signerd.attestation.dsse import encode_base64, pae
from signerd.attestation.statement import PAYLOAD_TYPE, Subject, build_statement
from signerd.verification.keys import PublicKey
from signerd_conformance.backend import CASES, CASES_AT_SOCKET
from signerd_conformance.check import RULES
from signerd_conformance.cli import main
from signerd_conformance.vectors.areas import AREAS, text_of

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = PublicKey.from_spki(PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    digest = {"sha256": hashlib.sha256(b"artefact").hexdigest()}
    statement = build_statement([Subject("artefact", digest)], "https://example.com/v1", b"{}")
    signature = PRIVATE.sign(pae(PAYLOAD_TYPE, statement), ec.ECDSA(SHA256()))
    good = keyful_bundle(encode_base64(statement), PAYLOAD_TYPE, signature, KEY.hint)
    (tmp_path / "good.json").write_bytes(good)
    (tmp_path / "bad.json").write_bytes(good.replace(b'"sig"', b'"cert":"","sig"'))
    (tmp_path / "artefact").write_bytes(b"artefact")
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "key.pub").write_text(KEY.pem)
    return tmp_path


def test_a_good_bundle_is_a_line_for_each_rule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "check",
        f"{folder}/good.json",
        "--subject",
        f"{folder}/artefact",
        "--key",
        f"{folder}/key.pub",
    ]
    assert main([*arguments, "--profile", "signerd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [rule.name for rule in RULES]
    assert {line.split()[0] for line in lines} == {"ok", "skip"}
    assert [line.split()[1] for line in lines if line.startswith("skip")] == ["leaf-only", "inclusion"]


def test_a_broken_rule_is_exit_6_and_names_its_source(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", f"{folder}/good.json", f"{folder}/bad.json"]) == 6
    output = capsys.readouterr().out.splitlines()
    (broken,) = (line for line in output if line.startswith("FAIL"))
    assert broken.split()[1] == "fields"
    assert broken.endswith("[protobuf JSON mapping, as protojson reads it]")
    assert [line for line in output if line.startswith("#")] == [
        f"# {folder}/good.json",
        f"# {folder}/bad.json",
    ]


def test_another_artefact_is_exit_6(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{folder}/good.json", "--subject", f"{folder}/other"]) == 6
    assert "FAIL  artefact" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "absent.json"],
        ["check", "good.json", "--key", "good.json"],
        ["check", "good.json", "--key", "absent"],
        ["check", "good.json", "--subject", "absent"],
    ],
)
def test_what_cannot_be_read_is_exit_2(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("signerd-conformance check: ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such"],
        ["check", "--no-such"],
        ["check", "x", "--profile", "y"],
        ["backend", "--no-such"],
        ["backend", "--key", "x:y", "--timeout", "0", "--", "true"],
        ["backend", "--key", "x:y", "--case", "no-such", "--", "true"],
    ],
)
def test_usage_is_exit_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_help_and_the_list_of_rules(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["check", "--help"], ["backend", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
    capsys.readouterr()
    assert main(["check", "--list-rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [rule.name for rule in RULES]
    assert all(line.split(maxsplit=1)[1] for line in lines)


@pytest.mark.needs("vectors")
def test_the_keyful_bundle_that_npm_published(capsys: pytest.CaptureFixture[str]) -> None:
    examples = the("vectors") / "sigstore-go" / "examples"
    assert main(["check", f"{examples}/bundle-publish.json", "--key", f"{examples}/publish_key.pub"]) == 0
    assert "ok    signature " in capsys.readouterr().out


def worker(*arguments: str) -> list[str]:
    return ["--", sys.executable, "-m", "signerd.worker.key", *arguments]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "settings.json"
    table = {"scheme": "file", "name": "file", "settings": {"directory": str(tmp_path / "keys")}}
    file.write_text(json.dumps(table))
    return file


def test_a_good_worker_is_a_line_for_each_case_and_a_report(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["backend", "--key", "file:a", "--generate", "Ed25519", "--settings", str(settings)]
    assert main([*arguments, "--report", f"{tmp_path}/report.json", *worker()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [case.name for case in CASES]
    assert [line.split()[1] for line in lines if not line.startswith("ok  ")] == ["sign-der"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert [case["name"] for case in report["cases"]] == [case.name for case in CASES]
    assert {case["status"] for case in report["cases"]} == {"ok", "skip"}
    (key,) = report["keys"]
    assert (key["key"], key["algorithm"], key["keyid"][:7]) == ("file:a", "Ed25519", "sha256:")
    assert report["command"] == worker()[1:]


def test_a_failed_case_is_exit_6_names_its_source_and_can_be_asked_for_alone(
    settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["backend", "--key", "file:absent", "--settings", str(settings), "--case", "sign", "--case", "hello"]
    assert main([*arguments, *worker("--fd", "{fd}")]) == 6
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", "hello"], ["FAIL", "sign"]]
    assert lines[1].endswith("[docs/protocol.md, Worker protocol: sign]")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backend"], "-- CMD and at least one --key REF are needed"),
        (["backend", "--key", "x:y"], "-- CMD and at least one --key REF are needed"),
        (["backend", "--key", "x:y", "--"], "-- CMD and at least one --key REF are needed"),
        (["backend", "--", "true"], "-- CMD and at least one --key REF are needed"),
        (["backend", "--key", "x:y", "--", "/no/such/worker"], "No such file or directory: '/no/such/worker'"),
        (["backend", "--key", "x:y", "--settings", "/no/such/file", "--", "true"], "'/no/such/file'"),
        (["backend", "--key", "x:y", "--sign", "/k", "--", "true"], "--sign needs --certificate"),
        (["backend", "--key", "x:y", "--sign", "/k", "--case", "sign", "--", "true"], "by every case: no --case"),
        (["backend", "--key", "x:y", "--key", "z:y", "--sign", "/k", "--", "true"], "keys of one scheme"),
        (["backend", "--key", "x:y", "--distribution", "d", "--", "true"], "go with --sign"),
    ],
)
def test_a_worker_that_cannot_be_started_is_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("signerd-conformance backend: ")
    assert said in captured.err


def test_the_list_of_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backend", "--list-cases"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(
        dict.fromkeys(case.name for case in (*CASES, *CASES_AT_SOCKET))
    )
    assert all(line.split(maxsplit=1)[1] for line in lines)


def test_vectors_are_printed_for_other_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(AREAS)
    assert main(["vectors", "--area", "pae"]) == 0
    pae = capsys.readouterr().out
    assert pae == text_of("pae")
    assert main(["vectors"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert list(everything) == list(AREAS)
    assert everything["pae"] == json.loads(pae)
    with pytest.raises(SystemExit) as ended:
        main(["vectors", "--area", "none"])
    assert ended.value.code == 2


def test_a_plugin_that_no_class_judges_or_that_is_not_installed_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["contract", "nobody", "--", str(tmp_path)]) == 2
    assert "signerd-conformance contract: plugin nobody: no installed distribution" in capsys.readouterr().err
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    run = "import sys; from signerd_conformance.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["contract", "auth-peercred", "--", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    command = [sys.executable, "-c", run, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "no contract class of the tests has judged signerd_auth_peercred.plugin" in done.stderr
