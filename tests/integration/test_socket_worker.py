"""A daemon whose key worker is a service of its own: each may be killed, and signing goes on with what comes back."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from running.callers import request, sign_until
from running.configured import open_descriptors, records, until
from running.daemon import Running, running
from running.service import CREDENTIAL, ServiceWorker, service_configuration
from signerd.attestation.dsse import pae
from signerd.errors import Fault, SignerdError
from signerd.verification.keys import PublicKey
from signerd_client import Signer

BACK_S = 15.0
"""Seconds within which signing must go on; the pause before a connection grows while a worker starts."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorker]:
    made = ServiceWorker(tmp_path_factory.mktemp("service"))
    yield made.start()
    made.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, worker: ServiceWorker) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("daemon")
    with running(base, config=service_configuration(base, worker)) as started:
        yield started


def signs(daemon: Running, worker: ServiceWorker) -> None:
    """Have an SBOM signed, and verify it with the key that the worker alone holds."""
    with Signer.connect(daemon.socket) as signer:
        envelope = json.loads(signer.sign_dsse(request()).bundles[0])["dsseEnvelope"]
    (file,) = (worker.base / "keys").iterdir()
    private = load_pem_private_key(file.read_bytes(), None)
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))
    PublicKey.from_spki(spki).verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)


def test_a_worker_at_a_socket_path_signs(daemon: Running, worker: ServiceWorker) -> None:
    signs(daemon, worker)
    assert "key" not in daemon.children(), "no worker was started"
    until(lambda: all(ends == ["signed"] for ends in records(daemon).values()))


def test_a_killed_worker_that_is_started_again_signs_again(daemon: Running, worker: ServiceWorker) -> None:
    worker.kill()
    with Signer.connect(daemon.socket) as signer, pytest.raises(Fault) as caught:
        signer.sign_dsse(request())
    assert caught.value.code == "key.backend_unavailable"
    # It is tried meanwhile, and the operator told why in vain.
    until(lambda: "not_listening" in daemon.said)
    worker.start()
    sign_until(daemon.socket, BACK_S)
    assert "backend service: worker hung up" in daemon.said


def test_a_new_sealer_connects_again(daemon: Running, worker: ServiceWorker) -> None:
    sealer = daemon.child("sealer")
    os.kill(sealer, signal.SIGKILL)
    daemon.child("sealer", other_than=sealer)
    sign_until(daemon.socket, BACK_S)
    assert worker.process is not None
    assert worker.process.poll() is None


def test_a_worker_that_hangs_is_disconnected_and_comes_back(daemon: Running, worker: ServiceWorker) -> None:
    assert worker.process is not None
    signs(daemon, worker)
    os.kill(worker.process.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            with Signer.connect(daemon.socket) as signer, pytest.raises(Fault) as caught:
                signer.sign_dsse(request())
            assert caught.value.code == "key.backend_unavailable"
        until(lambda: "does not answer in time" in daemon.said)
    finally:
        os.kill(worker.process.pid, signal.SIGCONT)
    sign_until(daemon.socket, BACK_S)


def test_connections_that_fail_leave_nothing_open(daemon: Running, worker: ServiceWorker) -> None:
    sealer = daemon.child("sealer")
    sign_until(daemon.socket, BACK_S)
    before = open_descriptors(sealer)
    worker.kill()
    seen = daemon.said.count("not_listening")
    until(lambda: daemon.said.count("not_listening") >= seen + 3)
    worker.start()
    sign_until(daemon.socket, BACK_S)
    until(lambda: open_descriptors(sealer) <= before)


def test_the_credential_is_nowhere_to_be_read(daemon: Running, worker: ServiceWorker) -> None:
    assert CREDENTIAL not in daemon.said.encode()
    assert CREDENTIAL.hex() not in daemon.said
    for path in daemon.state.iterdir():
        if path.is_file():
            assert CREDENTIAL not in path.read_bytes()
    assert CREDENTIAL not in worker.said.read_bytes()


def test_a_daemon_starts_without_its_worker_and_serves_when_that_comes(tmp_path: Path) -> None:
    service = ServiceWorker(tmp_path)
    try:
        with running(tmp_path, config=service_configuration(tmp_path, service)) as daemon:
            with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
                signer.sign_dsse(request())
            assert caught.value.code == "key.not_found", "nobody has described it yet"
            service.start()
            sign_until(daemon.socket, BACK_S)
    finally:
        service.close()


def test_another_credential_is_told_to_the_operator_and_signs_nothing(tmp_path: Path) -> None:
    other = tmp_path / "credential"
    other.write_bytes(b"another credential of enough bytes")
    other.chmod(0o600)
    (tmp_path / "service").mkdir(mode=0o700)
    service = ServiceWorker(tmp_path / "service")
    try:
        config = service_configuration(tmp_path, service.start()).replace(str(service.credential), str(other))
        with running(tmp_path, config=config) as daemon:
            until(lambda: "wrong_mac" in daemon.said)
            with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError):
                signer.sign_dsse(request())
            assert list((service.base / "keys").iterdir()) == []
    finally:
        service.close()
