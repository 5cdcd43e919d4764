"""Stock cosign, offline: accepts what we write for every key type of its profile, refuses what is spoiled."""

import os
import subprocess
from pathlib import Path

import pytest

from outside.parts import the
from outside.signed import TYPE, Key, Signed, spoil, write
from signerd.attestation.algorithms import COSIGN_ALGORITHMS, SIGNATURE_DIGEST

pytestmark = pytest.mark.needs("cosign")


def judge(signed: Signed, *extra: str, kind: str = TYPE) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [the("cosign"), "verify-blob-attestation", "--key", signed.key]
    command += ["--bundle", signed.bundle, "--insecure-ignore-tlog", "--type", kind, *extra, signed.artifact]
    # No home, so no trust root from an earlier run; proxies that lead nowhere, so none from the network.
    nowhere = {"HOME": str(signed.key.parent / "home"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        command, env=os.environ | nowhere, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("algorithm", sorted(COSIGN_ALGORITHMS))
def test_it_accepts_every_key_type_of_its_profile(algorithm: str, tmp_path: Path) -> None:
    digest = SIGNATURE_DIGEST.get(algorithm)
    extra = [f"--signature-digest-algorithm={digest}"] if digest else []
    done = judge(write(tmp_path, Key(algorithm)), *extra)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("wrong key", "could not verify envelope"),
        ("altered payload", "could not verify envelope"),
        ("altered signature", "could not verify envelope"),
        ("altered payload type", "could not verify envelope"),
        ("two signatures", "exactly one signature is required"),
        ("wrong artifact", "provided artifact digests do not match digests in statement"),
    ],
)
def test_it_refuses_what_is_spoiled(how: str, says: str, tmp_path: Path) -> None:
    signed = write(tmp_path, Key())
    assert judge(signed).returncode == 0
    spoil(signed, how)
    done = judge(signed)
    assert done.returncode != 0
    assert says in done.stderr


def test_it_refuses_another_predicate_type(tmp_path: Path) -> None:
    done = judge(write(tmp_path, Key()), kind="https://spdx.dev/Document")
    assert done.returncode != 0
    assert "predicate type" in done.stderr
