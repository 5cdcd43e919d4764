"""The worker of the FIDO2 backend, judged by the kit that judges everybody's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.fido2_device import SoftAuthenticator
from signerd_key_fido2.backend import Fido2Backend

RP_ID, ORIGIN = "signer.example", "https://signer.example"
KEYS = {
    "fido2:first": "FIDO2-ES256",
    "fido2:second": "FIDO2-Ed25519",
    "fido2:unwrap/third": "ES256",
    "fido2:raw/fourth": "ES256",
}


def judged(folder: Path, device: SoftAuthenticator, *options: str) -> subprocess.CompletedProcess[str]:
    settings = {"state": str(folder / "state"), "device": device.place, "rp_id": RP_ID, "origin": ORIGIN}
    settings["raw_sign"] = True
    device.extensions = ("hmac-secret", "previewSign")
    backend = Fido2Backend(settings)
    for key, algorithm in KEYS.items():
        backend.enrol(key, algorithm)
    file = folder / "settings.json"
    file.write_text(json.dumps({"scheme": "fido2", "name": "touch", "settings": settings}))
    program = Path(sys.executable).parent / "signerd-conformance"
    command = [program, "backend", *options, "--settings", file]
    for key in KEYS:
        command += ["--key", key]
    command += ["--", sys.executable, "-P", "-m", "signerd.worker.key"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_case_is_kept(authenticator: SoftAuthenticator, tmp_path: Path) -> None:
    done = judged(tmp_path, authenticator, "--rp-id", RP_ID, "--origin", ORIGIN)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), ("--rp-id", "another.example", "--origin", ORIGIN)])
def test_assertions_for_another_relying_party_are_none(
    authenticator: SoftAuthenticator, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = judged(tmp_path, authenticator, "--case", "sign", *options)
    assert done.returncode == 6
    assert "rp_id" in done.stdout
