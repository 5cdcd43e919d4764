import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.sigstore import Sigstore
from signerd.errors import Fault, Refusal
from signerd.verification.trusted_root import parse_trusted_root
from signerd.wire.methods import KeyList
from signerd.wire.params import NoParams
from signerd_conformance.one_request import ask
from signerd_conformance.own_daemon import KEY, own_daemon
from signerd_conformance.signing_config import Services

STACK = Sigstore()
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def services() -> Services:
    root = parse_trusted_root(STACK.trusted_root())
    authority, stamps = root.certificate_authorities[0], root.timestamp_authorities[0]
    return Services(
        ("https://fulcio.invalid", authority),
        root.ct_logs,
        (("https://rekor.invalid", root.logs[1]),),
        (("https://stamps.invalid/stamp", stamps),),
    )


def test_it_serves_one_keyless_key_and_leaves_nothing() -> None:
    with own_daemon(services(), 'https://issuer.example/"quoted"\\') as socket:
        folder = socket.parent
        assert folder.stat().st_mode & 0o077 == 0
        listed = ask(socket, "keys.list", NoParams(), 20)
        assert isinstance(listed, KeyList)
        assert [key.key for key in listed.keys] == [KEY]
    assert not folder.exists()


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program in signerd's place."""
    (folder / "signerd").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "signerd").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


def test_without_signerd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal) as refused, own_daemon(services(), "https://issuer.example"):
        pass
    assert (refused.value.code, refused.value.reason) == ("request.unsupported", "signerd_missing")


def test_with_a_plugin_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo no plugin log-rekor >&2; exit 2", monkeypatch)
    with pytest.raises(Refusal, match="no plugin log-rekor") as refused, own_daemon(services(), "https://i.example"):
        pass
    assert refused.value.reason == "signerd_missing"


def test_one_that_dies_or_cannot_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "kill -9 $$", monkeypatch)
    with pytest.raises(Fault) as failed, own_daemon(services(), "https://issuer.example"):
        pass
    assert (failed.value.code, failed.value.reason) == ("internal", "signerd_start")
    monkeypatch.setattr("signerd_conformance.own_daemon.END_S", 0.2)
    program(tmp_path, f"trap '' TERM; echo $$ > {tmp_path}/pid; echo ready unix: >&2; exec sleep 60", monkeypatch)
    with own_daemon(services(), "https://issuer.example"):
        pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
