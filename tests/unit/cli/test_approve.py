import hashlib
import json
import shutil

import pytest
from msgspec.structs import replace

from signerd.cli.approve import _check, _read, _signed
from signerd.cli.main import main
from signerd.errors import Fault, Refusal
from signerd.verification.sshsig import SshSignature
from signerd.wire.admin import Approval
from signerd.wire.ceremonies import NAMESPACE

PAYLOAD = b'{"key":"file:a","reason":"why"}'


def message(**changes):
    said = {
        "ceremony": "ab" * 16,
        "operation": "keys.rotate",
        "payload_sha256": hashlib.sha256(PAYLOAD).hexdigest(),
        "expires_at": 9000,
        "daemon": "cd" * 16,
    }
    return json.dumps({**said, **changes}).encode()


FOUND = Approval("ab" * 16, "keys.rotate", PAYLOAD, message(), NAMESPACE, "open", 2, (), 9000)


def test_what_one_reads_is_what_one_signs():
    _check(FOUND)


@pytest.mark.parametrize(
    "said",
    [
        message(operation="keys.revoke"),
        message(payload_sha256="00" * 32),
        message(ceremony="cd" * 16),
        message(expires_at=2**50),
        message(more="x"),
        b"a file's digest",
        b"\xff",
    ],
)
def test_a_daemon_that_shows_one_thing_and_has_another_signed_is_refused(said):
    with pytest.raises(Fault, match="message"):
        _check(replace(FOUND, message=said))


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen (package openssh-client)")
def test_openssh_makes_the_signature(tmp_path):
    import subprocess

    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    SshSignature.parse(_signed(FOUND, str(tmp_path / "key"))).verify(FOUND.message, NAMESPACE)
    with pytest.raises(Refusal, match="not_signed"):
        _signed(FOUND, str(tmp_path / "no"))


def test_a_signature_from_a_file(tmp_path):
    (tmp_path / "sig").write_text("armour")
    assert _read(str(tmp_path / "sig")) == "armour"
    with pytest.raises(Refusal, match="signature_file"):
        _read(str(tmp_path / "no"))


def test_which_ceremony_must_be_named(tmp_path, capsys):
    assert main(["approve", "--withdraw", "--state", str(tmp_path)]) == 2
    assert "which one?" in capsys.readouterr().err
