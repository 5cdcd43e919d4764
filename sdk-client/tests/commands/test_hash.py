import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from signerd.attestation.hashing import PURPOSES, hash_for
from signerd.verification.hashing import digest
from signerd_client.cli import main, parser
from signerd_client.commands.hash import PIECE

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("profile", ["world", "fips", "gost", "sm", "gost+fips"])
@pytest.mark.parametrize("purpose", ["graph", "content", "interop"])
def test_a_file_is_hashed_for_its_purpose(tmp_path: Path, capsys: Capture, profile: str, purpose: str) -> None:
    file = tmp_path / "graph.json"
    file.write_bytes(b"{}" * 100)
    assert main(["hash", str(file), "--purpose", purpose, "--profile", profile, "--output", "json"]) == 0
    name = hash_for(profile, purpose)
    told = json.loads(capsys.readouterr().out)
    assert told == {"hash": name, "files": [{"file": str(file), "digest": digest(name, b"{}" * 100).hex()}]}


def test_a_large_file_is_read_in_pieces_and_a_table_names_each(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a").write_bytes(os.urandom(2 * PIECE + 1))
    (tmp_path / "b").write_bytes(b"")
    files = [str(tmp_path / name) for name in "ab"]
    assert main(["hash", *files, "--purpose", "attestation", "--output", "table"]) == 0
    out = capsys.readouterr().out
    for file in files:
        assert hashlib.sha256(Path(file).read_bytes()).hexdigest() in out


def test_stdin_is_a_file_too() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "signerctl", "hash", "-", "--purpose", "content"],
        input=b"abc",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["files"][0]["digest"] == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent", "--purpose", "graph"], "unreadable_file"),
        (["/", "--purpose", "graph"], "unreadable_file"),
        (["x", "--purpose", "graph", "--profile", "nist"], "expected profiles out of"),
        (["x", "--purpose", "graph", "--profile", "gost+gost"], "expected each part once"),
        (["x", "--purpose", "signing"], "invalid choice"),
        (["x"], "--purpose"),
    ],
)
def test_what_cannot_be_hashed_is_exit_code_2(arguments: list[str], says: str, capsys: Capture) -> None:
    assert main(["hash", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_the_command_line_offers_every_purpose() -> None:
    for purpose in PURPOSES:
        assert parser().parse_args(["hash", "x", "--purpose", purpose]).purpose == purpose
