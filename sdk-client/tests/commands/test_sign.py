import base64
import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd.errors import Refusal
from signerd.wire.params import Options
from signerd_client.cli import main
from signerd_client.commands.sign import identity_token, options_for, release_digest, subject_of

Capture = pytest.CaptureFixture[bytes]

DIGEST = "sha256:" + "0" * 64
SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.6"}'
KEYID = "0123456789ab"


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """The params of what was asked of the daemon."""
    return []


@pytest.fixture
def path(
    answering: Callable[..., Path],
    respond: Callable[..., Any],
    sign_result: Callable[..., Any],
    asked: list[dict[str, Any]],
) -> str:
    def handler(request: Any, _: object) -> list[Any]:
        params = msgspec.msgpack.decode(request.params)
        asked.append(params)
        keys = params.get("options", {}).get("keys", ["x"])
        result = sign_result(b"bundle 0")
        for name in ("signing_identity", "bundle_sha256"):
            result[name] = result[name] * len(keys)
        result["bundles"] = [f"bundle {index}".encode() for index in range(len(keys))]
        options = params.get("options", {})
        if options.get("profile") == "cose":
            result["bundles"], result["bundle_sha256"] = [], []
            result["cose"] = [f"message {index}".encode() for index in range(len(keys))]
            argv = ["signerctl", "verify", "statement.cose"]
            result["verify_command"] = [{"argv": argv, "line": " ".join(argv)}]
        if options.get("profile") == "dsse":
            for place, identity in enumerate(result["signing_identity"]):
                algorithm = "ES256" if keys[place] == "p256" else "Ed25519"
                result["signing_identity"][place] = {**identity, "algorithm": algorithm}
            result["bundles"] = result["bundles"][: keys.count("p256")]
            result["bundle_sha256"] = result["bundle_sha256"][: keys.count("p256")]
        if options.get("profile") == "dsse" or "envelope" in options.get("include", ()):
            result["envelope"] = b"envelope"
        return [respond(request, result)]

    return str(answering(handler))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with a document of each kind."""
    (tmp_path / "app").write_bytes(b"app")
    (tmp_path / "sbom.json").write_bytes(SBOM)
    (tmp_path / "vex.json").write_bytes(b'{"@context": "https://openvex.dev/ns/v0.2.0"}')
    (tmp_path / "report.json").write_bytes(
        b'{"report": {"format": "x", "digest": {}}, "policy": {"digest": "d", "viewSet": "v"}}'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "name"), [("app", "app"), ("app:x/y", "x/y"), ("./app", "app"), ("app:a b", "a b")]
)
def test_a_subject_is_a_file_and_a_name(files: Path, argument: str, name: str) -> None:
    subject = subject_of(argument)
    assert (subject.name, subject.digest) == (name, {"sha256": hashlib.sha256(b"app").hexdigest()})


@pytest.mark.parametrize(
    ("argument", "code"),
    [("app:", "statement.invalid"), (":x", "statement.invalid"), ("absent", "request.malformed")],
)
def test_what_names_no_file_or_name_is_refused(files: Path, argument: str, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        subject_of(argument)
    assert caught.value.code == code


def test_a_release_has_the_wires_form() -> None:
    assert release_digest(None) is None
    assert release_digest(DIGEST) == DIGEST
    for wrong in ("", "0" * 64, DIGEST.upper(), DIGEST + "\n"):
        with pytest.raises(Refusal):
            release_digest(wrong)
    assert options_for([]) is None
    assert options_for([], mode="keyless", identity_token="a.b.c") == Options(mode="keyless", identity_token="a.b.c")
    assert options_for(["a", "b"]).keys == ("a", "b")  # type: ignore[union-attr]


def test_what_is_to_be_published_is_said_where_it_is_asked_for() -> None:
    assert options_for([], "required", timestamp=True) == Options(transparency="required", timestamp=True)
    assert options_for(["a"], "none") == Options(keys=("a",), transparency="none")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [("sbom", "sbom.json", "cyclonedx"), ("vex", "vex.json", "openvex"), ("report", "report.json", "report")],
)
def test_the_bundles_bytes_alone_go_to_stdout(
    path: str, asked: list[dict[str, Any]], capfdbinary: Capture, kind: str, document: str, expected: str
) -> None:
    assert main(["sign", kind, document, "--subject", "app:n", "--release", DIGEST, "--socket", path]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"bundle 0"
    assert err == b"warning: careful\\x1b[2J\nverify: cosign verify-blob-attestation\n"
    assert asked == [
        {
            "subject": [{"name": "n", "digest": {"sha256": hashlib.sha256(b"app").hexdigest()}}],
            "predicate_type": expected,
            "predicate": Path(document).read_bytes(),
            "scanner_image_digest": DIGEST,
        }
    ]


def test_a_statement_takes_its_type_from_the_option(
    files: Path, path: str, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    arguments = ["sign", "statement", "--type", "https://a/b", "--predicate", "sbom.json", "--subject", "app"]
    assert main([*arguments, "--out", "b.json", "--receipt", "r.json", "--socket", path]) == 0
    assert asked[0]["predicate_type"] == "https://a/b"
    assert (files / "b.json").read_bytes() == b"bundle 0"
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.endswith(b"\nverify: cosign --bundle b.json\n")  # where it is, not what the daemon calls it
    receipt = (files / "r.json").read_bytes()
    assert receipt.startswith(b'{"audit_id":"a-1","decision":{"degraded":[]')
    assert receipt.endswith(b'"later":{"a":2,"z":1},"leaf_hash":"' + b"ee" * 32 + b'"}')


def test_several_signers_write_a_file_each(files: Path, path: str, capfdbinary: Capture) -> None:
    (files / "out").mkdir()
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--key", "a", "--key", "b"]
    assert main([*arguments, "--out", "out", "--socket", path]) == 0
    assert {entry.name: entry.read_bytes() for entry in (files / "out").iterdir()} == {
        f"0-{KEYID}.sigstore.json": b"bundle 0",
        f"1-{KEYID}.sigstore.json": b"bundle 1",
    }
    assert capfdbinary.readouterr().out == b""


@pytest.mark.usefixtures("files")
def test_several_signers_without_a_directory_are_refused_before_anything_is_signed(
    path: str, asked: list[dict[str, Any]]
) -> None:
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--key", "a", "--key", "b"]
    assert main([*arguments, "--socket", path]) == 2
    assert main([*arguments, "--out", "file", "--socket", path]) == 2
    assert main([*arguments[:5], "--output", "table", "--socket", path]) == 2
    assert asked == []


@pytest.mark.usefixtures("files")
def test_json_is_the_whole_result(path: str, capfdbinary: Capture) -> None:
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--key", "a", "--key", "b"]
    assert main([*arguments, "--output", "json", "--socket", path]) == 0
    result = json.loads(capfdbinary.readouterr().out)
    assert [base64.b64decode(bundle) for bundle in result["bundles"]] == [b"bundle 0", b"bundle 1"]
    assert result["receipt"]["audit_id"] == "a-1"


@pytest.mark.usefixtures("files")
def test_a_table_goes_beside_the_file(path: str, capfdbinary: Capture) -> None:
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--out", "b", "--output", "table"]
    assert main([*arguments, "--socket", path]) == 0
    assert b"audit id" in capfdbinary.readouterr().out


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    "arguments",
    [
        ["sbom", "vex.json", "--subject", "app"],
        ["sbom", "app", "--subject", "app"],
        ["sbom", "absent", "--subject", "app"],
        ["sbom", "sbom.json", "--subject", "absent"],
        ["sbom", "sbom.json", "--subject", "app:"],
        ["sbom", "sbom.json", "--subject", "app", "--release", "sha256:x"],
        ["vex", "sbom.json", "--subject", "app"],
        ["report", "sbom.json", "--subject", "app"],
    ],
)
def test_what_is_not_valid_is_exit_code_2(
    path: str, asked: list[dict[str, Any]], capfdbinary: Capture, arguments: list[str]
) -> None:
    assert main(["sign", *arguments, "--socket", path]) == 2
    assert asked == []
    assert capfdbinary.readouterr().out == b""


@pytest.mark.usefixtures("files")
def test_a_bundle_that_cannot_be_written_is_exit_code_1(path: str) -> None:
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--out", "absent/b"]
    assert main([*arguments, "--socket", path]) == 1


def test_the_token_comes_from_a_file_and_never_from_the_command_line(
    path: str, files: Path, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    (files / "token").write_bytes(b"a.b.c\n")
    arguments = ["--socket", path, "sign", "sbom", "sbom.json", "--subject", "app", "--out", "b.json"]
    assert main([*arguments, "--mode", "keyless", "--identity-token", "token"]) == 0
    assert asked[0]["options"] == {"mode": "keyless", "identity_token": "a.b.c"}
    assert b"a.b.c" not in b"".join(capfdbinary.readouterr())


def test_a_token_from_standard_input(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b" a.b.c\n")

    monkeypatch.setattr(sys, "stdin", Input)
    assert identity_token("-") == "a.b.c"
    assert identity_token(None) is None


@pytest.mark.parametrize("content", [b"", b" \n", b"a b", b"\xff.b.c", b"a" * 20_000])
def test_a_file_without_a_token_is_refused_and_not_shown(files: Path, content: bytes) -> None:
    (files / "token").write_bytes(content)
    with pytest.raises(Refusal) as caught:
        identity_token("token")
    assert (caught.value.code, caught.value.reason) == ("request.malformed", "identity_token")
    with pytest.raises(Refusal, match="unreadable_file"):
        identity_token("missing")


DSSE = ["sign", "sbom", "sbom.json", "--subject", "app", "--profile", "dsse"]


def test_profile_dsse_writes_the_envelope_and_the_companion(
    files: Path, path: str, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    keys = ["--key", "ed", "--key", "p256", "--envelope", "e.json", "--socket", path]
    assert main([*DSSE, *keys]) == 0
    assert capfdbinary.readouterr().out == b"bundle 0"
    assert (files / "e.json").read_bytes() == b"envelope"
    assert asked[0]["options"] == {"keys": ["ed", "p256"], "profile": "dsse"}
    (files / "out").mkdir()
    assert main([*DSSE, *keys, "--out", "out"]) == 0
    assert [entry.name for entry in (files / "out").iterdir()] == [f"0-{KEYID}.sigstore.json"]


def test_without_a_companion_there_is_the_envelope_alone(files: Path, path: str, capfdbinary: Capture) -> None:
    keys = ["--key", "ed", "--envelope", "e.json", "--socket", path]
    for out in ([], ["--out", "b.json"]):
        assert main([*DSSE, *keys, *out]) == 0
        assert capfdbinary.readouterr().out == b""
        assert (files / "e.json").read_bytes() == b"envelope"
    assert not (files / "b.json").exists()


@pytest.mark.usefixtures("files")
def test_profile_dsse_without_a_place_for_the_envelope_is_refused_before_anything_is_signed(
    path: str, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    assert main([*DSSE, "--out", "b.json", "--socket", path]) == 2
    assert b"envelope_missing" in capfdbinary.readouterr().err
    assert asked == []
    assert main([*DSSE, "--output", "json", "--socket", path]) == 0
    assert base64.b64decode(json.loads(capfdbinary.readouterr().out)["envelope"]) == b"envelope"


def test_the_envelope_comes_beside_bundles_too(files: Path, path: str, asked: list[dict[str, Any]]) -> None:
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--out", "b.json", "--envelope", "e.json"]
    assert main([*arguments, "--socket", path]) == 0
    assert asked[0]["options"] == {"include": ["envelope"]}
    assert ((files / "b.json").read_bytes(), (files / "e.json").read_bytes()) == (b"bundle 0", b"envelope")


COSE = ["sign", "sbom", "sbom.json", "--subject", "app", "--profile", "cose"]


def test_profile_cose_writes_the_message(
    files: Path, path: str, asked: list[dict[str, Any]], capfdbinary: Capture
) -> None:
    assert main([*COSE, "--socket", path]) == 0
    assert capfdbinary.readouterr().out == b"message 0"
    assert asked[0]["options"] == {"profile": "cose"}
    assert main([*COSE, "--out", "app.cose", "--socket", path]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.endswith(b"\nverify: signerctl verify app.cose\n")
    assert (files / "app.cose").read_bytes() == b"message 0"


def test_several_messages_go_into_a_directory(files: Path, path: str, asked: list[dict[str, Any]]) -> None:
    keys = ["--key", "a", "--key", "b", "--socket", path]
    assert main([*COSE, *keys]) == 2
    assert main([*COSE, *keys, "--out", "file"]) == 2
    assert asked == []
    (files / "out").mkdir()
    assert main([*COSE, *keys, "--out", "out"]) == 0
    assert {entry.name: entry.read_bytes() for entry in (files / "out").iterdir()} == {
        f"0-{KEYID}.cose": b"message 0",
        f"1-{KEYID}.cose": b"message 1",
    }


@pytest.mark.usefixtures("files")
def test_messages_stand_in_json(path: str, capfdbinary: Capture) -> None:
    assert main([*COSE, "--key", "a", "--key", "b", "--output", "json", "--socket", path]) == 0
    result = json.loads(capfdbinary.readouterr().out)
    assert [base64.b64decode(message) for message in result["cose"]] == [b"message 0", b"message 1"]
