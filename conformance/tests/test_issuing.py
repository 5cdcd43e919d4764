import argparse
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP
from signerd.host.certificate import Case
from signerd_conformance.issuing import add_options, begin

PRIVATE = Ed25519PrivateKey.generate()
PASSED = [Case("hello", "ok")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_bytes(PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "worker").write_bytes(b"program")
    return tmp_path


def options(folder: Path, *arguments: str, binary: bool = True) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, binary=binary)
    return parser.parse_args([argument.replace("DIR", str(folder)) for argument in arguments])


def test_nothing_asked_for_is_nothing_made(folder: Path) -> None:
    assert begin(options(folder), KEY_BACKENDS_GROUP, "file") is None
    assert begin(options(folder, binary=False), KEY_BACKENDS_GROUP, "file") is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--certificate", "DIR/c"],
        ["--distribution", "signerd-key-file"],
        ["--file", "DIR/worker"],
        ["--password-file", "DIR/worker"],
        ["--sign", "DIR/key"],
        ["--sign", "DIR/key", "--certificate", "DIR/c"],
        ["--sign", "DIR/key", "--file", "DIR/worker"],
        ["--sign", "DIR/key", "--certificate", "DIR/c", "--file", "DIR/worker", "--distribution", "signerd-key-file"],
        ["--sign", "DIR/worker", "--certificate", "DIR/c", "--file", "DIR/worker"],
        ["--sign", "DIR/key", "--certificate", "DIR/c", "--distribution", "signerd-auth-peercred"],
    ],
)
def test_options_that_do_not_fit_together(folder: Path, arguments: list[str]) -> None:
    (folder / "worker").chmod(0o600)
    with pytest.raises(ValueError, match=r"--sign|--certificate|PKCS#8|offered by"):
        begin(options(folder, *arguments), KEY_BACKENDS_GROUP, "file")


def test_a_program_is_certified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = options(folder, "--sign", "DIR/key", "--certificate", "DIR/c.json", "--file", "DIR/worker")
    issuing = begin(given, KEY_BACKENDS_GROUP, "file")
    assert issuing is not None
    assert issuing.finish(PASSED, "worker-protocol")
    assert (folder / "c.json").read_bytes().startswith(b'{"payload":"')
    assert f"certified by {issuing.key.public.keyid}" in capsys.readouterr().err


def test_a_failed_run_and_files_that_changed_meanwhile_are_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(folder, "--sign", "DIR/key", "--certificate", "DIR/c.json", "--file", "DIR/worker")
    issuing = begin(given, KEY_BACKENDS_GROUP, "file")
    assert issuing is not None
    assert not issuing.finish([Case("sign", "FAIL")], "worker-protocol")
    assert "these cases failed: sign" in capsys.readouterr().err
    (folder / "worker").write_bytes(b"another program")
    assert not issuing.finish(PASSED, "worker-protocol")
    assert "the files were changed while they were judged" in capsys.readouterr().err
    assert not (folder / "c.json").exists()
