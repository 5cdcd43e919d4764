import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signerd.wire.macs import HmacCompute, HmacVerify
from signerd.wire.messages import Request
from signerd_client.cli import main

Capture = pytest.CaptureFixture[bytes]
MAC = bytes(range(32))
NAMED = {"algorithm": "HMAC-SHA256", "keyid": "sha256:" + "ab" * 32, "audit_id": "id1"}


@pytest.fixture
def asked() -> list[Request]:
    return []


@pytest.fixture
def path(answering: Callable[..., Path], respond: Callable[..., Any], asked: list[Request]) -> str:
    """A daemon that makes :data:`MAC` of everything, and finds no other valid."""

    def answer(request: Request, fds: tuple[int, ...]) -> list[Any]:
        asked.append(request)
        for fd in fds:
            os.close(fd)
        if request.method == "hmac.compute":
            return [respond(request, {"mac": MAC, **NAMED})]
        wanted = msgspec.msgpack.decode(request.params, type=HmacVerify)
        return [respond(request, {"valid": wanted.mac == MAC, **NAMED})]

    return str(answering(answer))


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(b"what is authenticated")
    return str(tmp_path / "file")


KEY = ["--purpose", "signing", "--key", "hmac:k"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([], MAC.hex().encode() + b"\n"),
        (["--output", "hex"], MAC.hex().encode() + b"\n"),
        (["--output", "base64"], base64.b64encode(MAC) + b"\n"),
        (["--output", "raw"], MAC),
    ],
)
def test_a_mac_is_printed_as_asked(
    path: str, file: str, capfdbinary: Capture, output: list[str], expected: bytes
) -> None:
    assert main(["hmac", "compute", *KEY, file, "--socket", path, *output]) == 0
    assert capfdbinary.readouterr().out == expected


def test_json_has_by_what_it_was_made(path: str, file: str, capfdbinary: Capture) -> None:
    assert main(["hmac", "compute", *KEY, file, "--socket", path, "--output", "json"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == {"mac": base64.b64encode(MAC).decode(), **NAMED}


def test_the_file_goes_by_descriptor_and_is_not_read(path: str, file: str, asked: list[Request]) -> None:
    assert main(["hmac", "compute", *KEY, file, "--socket", path]) == 0
    wanted = msgspec.msgpack.decode(asked[0].params, type=HmacCompute)
    assert (wanted.purpose, wanted.key) == ("signing", "hmac:k")
    assert msgspec.to_builtins(wanted.data) == {"fd": 0, "size": 21}


def test_the_exit_code_of_a_verification(path: str, file: str, tmp_path: Path, capfdbinary: Capture) -> None:
    (tmp_path / "mac").write_bytes(MAC)
    text = base64.b64encode(MAC).decode()
    for given in (["--mac", MAC.hex()], ["--mac-base64", text], ["--mac-file", str(tmp_path / "mac")]):
        assert main(["hmac", "verify", *KEY, *given, file, "--socket", path]) == 0
    assert main(["hmac", "verify", *KEY, "--mac", bytes(32).hex(), file, "--socket", path, "--output", "json"]) == 6
    out = capfdbinary.readouterr()
    assert json.loads(out.out.splitlines()[-1])["valid"] is False
    assert b"not valid" in out.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["compute", *KEY, "no-such-file"],
        ["compute", *KEY, "/dev/null"],
        ["compute", *KEY, "/"],
        ["compute", "--purpose", "payments", "--key", "hmac:k", "FILE"],
        ["compute", "--purpose", "signing", "FILE"],
        ["verify", *KEY, "FILE"],
        ["verify", *KEY, "--mac", "no hex", "FILE"],
        ["verify", *KEY, "--mac-base64", "!", "FILE"],
        ["verify", *KEY, "--mac", "00", "--mac-base64", "AA==", "FILE"],
        ["verify", *KEY, "--mac-file", "no-such-file", "FILE"],
    ],
)
def test_usage(path: str, file: str, arguments: list[str], capfdbinary: Capture) -> None:
    given = [file if argument == "FILE" else argument for argument in arguments]
    assert main(["hmac", *given, "--socket", path]) == 2
    assert capfdbinary.readouterr().out == b""
