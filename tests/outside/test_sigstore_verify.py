"""@sigstore/verify, an implementation of its own: it accepts what we write and refuses what is spoiled.

It judges the envelope alone and leaves artifact and predicate type to its caller: cosign's tests have those.
"""

import subprocess
from pathlib import Path

import pytest

from outside.parts import ROOT, the
from outside.signed import Key, Signed, spoil, write

pytestmark = pytest.mark.needs("node", "sigstore-verify")


def judge(signed: Signed) -> subprocess.CompletedProcess[str]:
    script = ROOT / "tests" / "outside" / "sigstore_js" / "verify.mjs"
    command = [the("node"), script, the("sigstore-verify"), signed.bundle, signed.key]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RSA-PKCS1-SHA256"])
def test_it_accepts_our_bundle(algorithm: str, tmp_path: Path) -> None:
    done = judge(write(tmp_path, Key(algorithm)))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("wrong key", "signature verification failed"),
        ("altered payload", "signature verification failed"),
        ("altered signature", "signature verification failed"),
        ("altered payload type", "signature verification failed"),
        ("two signatures", "invalid bundle"),
    ],
)
def test_it_refuses_what_is_spoiled(how: str, says: str, tmp_path: Path) -> None:
    signed = write(tmp_path, Key())
    assert judge(signed).returncode == 0
    spoil(signed, how)
    done = judge(signed)
    assert done.returncode == 1
    assert says in done.stderr
