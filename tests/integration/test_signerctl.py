"""The command and both clients against the real daemon."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from running.daemon import Running
from signerd.attestation.canonical import canonical_json
from signerd.errors import Refusal
from signerd_client import AsyncSigner, Signer, SignRequest, Subject, SubjectFile

SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}'
TYPE = "https://cyclonedx.org/bom"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "app").write_bytes(b"the artefact")
    (tmp_path / "sbom.json").write_bytes(SBOM)
    return tmp_path


def signerctl(place: Path, daemon: Running, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [Path(sys.executable).parent / "signerctl", *arguments],
        cwd=place,
        env={**os.environ, "SIGNERD_SOCKET": str(daemon.socket)},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_sign_verify_and_refuse_what_was_tampered_with(place: Path, daemon: Running) -> None:
    exported = signerctl(place, daemon, "keys", "--public", "key.pub")
    assert exported.returncode == 0, exported.stderr
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app", "--release", daemon.release]
    signed = signerctl(place, daemon, *arguments, "--out", "b.json", "--receipt", "receipt.json")
    assert signed.returncode == 0, signed.stderr
    assert signed.stdout == b""
    assert b"verify: cosign verify-blob-attestation" in signed.stderr
    again = signerctl(place, daemon, *arguments)
    assert again.stdout == (place / "b.json").read_bytes()

    verify = ["verify", "b.json", "--key", "key.pub", "--offline"]
    assert signerctl(place, daemon, *verify, "--subject", "app", "--type", TYPE).returncode == 0
    (place / "other").write_bytes(b"another artefact")
    assert signerctl(place, daemon, *verify, "--subject", "other").returncode == 6
    assert signerctl(place, daemon, *verify, "--type", "spdx").returncode == 6

    bundle = json.loads((place / "b.json").read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    altered = payload.replace(b"CycloneDX", b"CycloneDY")
    assert altered != payload
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(altered).decode()
    (place / "b.json").write_text(json.dumps(bundle))
    refused = signerctl(place, daemon, *verify, "--subject", "app")
    assert refused.returncode == 6
    assert b"signature_invalid" in refused.stderr

    text = (place / "receipt.json").read_bytes()
    receipt = json.loads(text)
    assert text == canonical_json(receipt)
    decision = canonical_json(receipt["decision"])
    assert receipt["decision_digest"] == hashlib.sha256(decision).hexdigest()


def test_the_whole_result_as_json_is_true_to_itself(place: Path, daemon: Running) -> None:
    arguments = ["sign", "sbom", "sbom.json", "--subject", "app:n", "--release", daemon.release]
    result = json.loads(signerctl(place, daemon, *arguments, "--output", "json").stdout)
    (bundle,) = [base64.b64decode(text) for text in result["bundles"]]
    assert result["bundle_sha256"] == [hashlib.sha256(bundle).hexdigest()]
    assert result["predicate_sha256"] == hashlib.sha256(SBOM).hexdigest()
    payload = base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])
    assert result["statement_sha256"] == hashlib.sha256(payload).hexdigest()
    assert json.loads(payload)["subject"][0]["name"] == "n"


def test_keys_and_info(place: Path, daemon: Running) -> None:
    (key,) = json.loads(signerctl(place, daemon, "keys").stdout)["keys"]
    assert (key["key"], key["algorithm"], key["status"]) == ("file:default", "ES256", "active")
    assert json.loads(signerctl(place, daemon, "keys", key["keyid"]).stdout) == key
    info = json.loads(signerctl(place, daemon, "info").stdout)
    assert info["session"]["principal"] == f"uid:{os.getuid()}"
    assert "sign.dsse" in info["methods"]
    assert info["checkpoints"] == "off"


def test_a_batch_has_an_outcome_a_line(place: Path, daemon: Running) -> None:
    good = {"subject": ["app"], "type": "cyclonedx", "predicate_file": "sbom.json"}
    lines = [json.dumps({**good, "subject": [f"app:{number}"]}) for number in range(40)]
    lines[7] = json.dumps({**good, "predicate_file": "app"})
    lines[11] = "{"
    (place / "batch.ndjson").write_text("\n".join(lines))
    done = signerctl(place, daemon, "sign", "batch", "batch.ndjson", "--release", daemon.release)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [outcome["index"] for outcome in outcomes] == list(range(40))
    assert [outcome["index"] for outcome in outcomes if "error" in outcome] == [7, 11]
    assert outcomes[7]["error"]["code"] == "predicate.invalid"
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["sign", "sbom", "sbom.json", "--subject", "app"], 3),
        (["sign", "sbom", "app", "--subject", "app"], 2),
        (
            [
                "sign",
                "statement",
                "--type",
                "https://no/such",
                "--predicate",
                "sbom.json",
                "--subject",
                "app",
            ],
            2,
        ),
        (["sign", "sbom", "sbom.json", "--subject", "app", "--key", "file:absent"], 4),
        (["keys", "file:absent"], 4),
        (["verify", "sbom.json"], 2),
        (["info", "--socket", "absent.sock"], 10),
        (["info", "--socket", "sbom.json"], 3),
        (["info", "--deadline", "0"], 2),
    ],
)
def test_exit_codes(place: Path, daemon: Running, arguments: list[str], code: int) -> None:
    more = ["--release", daemon.release] if "--key" in arguments or "statement" in arguments else []
    place.chmod(0o700)
    done = signerctl(place, daemon, *arguments, *more)
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    assert done.stderr.startswith(b"signerctl: ")


def test_large_predicates_and_files_go_by_descriptor(place: Path, daemon: Running) -> None:
    component = {"type": "library", "name": "n" * 100, "version": "1"}
    components = [{**component, "bom-ref": str(number)} for number in range(12_000)]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    predicate = json.dumps(document).encode()
    with Signer.connect(daemon.socket, inline_max=4096) as signer, (place / "app").open("rb") as app:
        assert signer.hello.limits is not None
        assert len(predicate) > 1 << 20
        request = SignRequest(
            subject=[SubjectFile("app", app.fileno())],
            predicate_type="cyclonedx",
            predicate=predicate,
            scanner_image_digest=daemon.release,
        )
        (bundle,) = signer.sign_dsse(request).bundles
    payload = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    assert payload["predicate"] == document
    assert payload["subject"][0]["digest"]["sha256"] == hashlib.sha256(b"the artefact").hexdigest()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_many_requests_on_one_connection(daemon: Running, backend: str) -> None:
    async def main() -> dict[int, str]:
        signed: dict[int, str] = {}

        async def sign(signer: AsyncSigner, number: int) -> None:
            subject = Subject(f"app-{number}", {"sha256": f"{number:064x}"})
            request = SignRequest(
                subject=[subject],
                predicate_type=TYPE,
                predicate=SBOM,
                scanner_image_digest=daemon.release,
            )
            result = await signer.sign_dsse(request, deadline_s=30)
            envelope = json.loads(result.bundles[0])["dsseEnvelope"]
            signed[number] = json.loads(base64.b64decode(envelope["payload"]))["subject"][0]["name"]

        async with AsyncSigner.connect(daemon.socket) as signer:
            assert (await signer.health()).ready
            async with anyio.create_task_group() as tasks:
                for number in range(40):
                    tasks.start_soon(sign, signer, number)
            with pytest.raises(Refusal) as caught:
                await signer.describe("file:absent")
            assert caught.value.code == "key.not_found"
        return signed

    assert anyio.run(main, backend=backend) == {number: f"app-{number}" for number in range(40)}
