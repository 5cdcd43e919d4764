import os
import subprocess
import sys
from pathlib import Path

import pytest

from running.service import ServiceWorker
from signerd_conformance.backend import CASES_AT_SOCKET, judge
from signerd_conformance.bench import Bench
from signerd_conformance.cli import main
from signerd_conformance.worker import AtSocket, Start


def arguments(service: ServiceWorker, *more: str) -> list[str]:
    place = ["--socket", str(service.socket), "--credential", str(service.credential)]
    return ["backend", "--key", "file:a", "--generate", "ES256", *place, *more]


def test_signerds_own_worker_passes_at_a_socket_path(
    service: ServiceWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    service.start()
    assert main(arguments(service)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [case.name for case in CASES_AT_SOCKET]
    assert {line.split()[0] for line in lines} <= {"ok", "skip"}
    assert {line.split()[0] for line in lines if " socket-" in line} == {"ok"}


def test_a_credential_that_is_not_the_workers_fails(service: ServiceWorker, capsys: pytest.CaptureFixture[str]) -> None:
    service.start()
    service.credential.write_bytes(b"another credential of enough bytes")
    assert main(arguments(service, "--case", "sign")) == 6
    assert capsys.readouterr().out.startswith("FAIL  sign")


def test_without_a_worker_or_with_half_of_what_is_needed_it_is_usage(
    service: ServiceWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backend", "--key", "file:a", "--case", "socket-mac", "--", "true"]) == 2
    assert main(arguments(service)) == 2
    assert "socket_missing" in capsys.readouterr().err
    assert main(arguments(service, "--", "true")) == 2
    assert main(["backend", "--key", "file:a", "--socket", str(service.socket)]) == 2
    service.credential.chmod(0o644)
    assert main(arguments(service)) == 2
    assert "credential_mode" in capsys.readouterr().err


CARELESS = """
import os, socket, sys, msgspec
from signerd.wire.frames import FrameReader, encode_frame
from signerd.wire.messages import Hello, Response
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens", flush=True)
while True:
    link, _ = listener.accept()
    reader = FrameReader(1 << 22)
    while data := link.recv(65536):
        reader.feed(data)
        while found := reader.next_frame():
            message = msgspec.msgpack.decode(found[0])
            if message["type"] == "hello":
                link.sendall(encode_frame(Hello((1,), "careless", version=1, nonce=bytes(32))))
            elif message["type"] == "request":
                link.sendall(encode_frame(Response(message["id"], msgspec.Raw(b"\\x80"))))
"""


def test_a_worker_that_asks_for_no_proof_fails_each_of_these_cases(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    tmp_path.chmod(0o700)
    with subprocess.Popen([sys.executable, "-c", CARELESS, str(path)], stdout=subprocess.PIPE) as careless:
        try:
            assert careless.stdout is not None
            assert careless.stdout.readline() == b"listens\n"
            place = AtSocket(str(path), bytes(32), os.geteuid())
            bench = Bench(Start((), seconds=0.5, at_socket=place), ("x:y",))
            cases = [case for case in CASES_AT_SOCKET if case.name in {"socket-mac", "socket-early", "socket-replay"}]
            assert [found.status for found in judge(bench, cases)] == ["FAIL"] * 3
        finally:
            careless.kill()
