import os
from collections.abc import Iterator

import pytest

from running.service import CREDENTIAL, ServiceWorker
from signerd.errors import Fault
from signerd.wire.messages import Error, Hello
from signerd_conformance.service import Service
from signerd_conformance.worker import AtSocket, Start, Violation, told

ABSENT = {"key": "file:absent"}


@pytest.fixture
def worker(service: ServiceWorker) -> Iterator[Service]:
    with connected(service.start()) as made:
        yield made


def connected(service: ServiceWorker, credential: bytes = CREDENTIAL) -> Service:
    place = AtSocket(str(service.socket), credential, os.geteuid())
    return Service(Start((), seconds=10, at_socket=place), place)


def test_a_proved_connection_is_a_worker_like_any_other(worker: Service, service: ServiceWorker) -> None:
    assert isinstance(worker.hello(), Hello)
    assert worker.refusal("describe", ABSENT).code == "key.not_found"
    assert service.process is not None
    assert worker.pid == service.process.pid
    assert worker.end(0).status == 0
    with connected(service) as again:
        assert isinstance(again.hello(), Hello)


def test_another_version_is_refused_before_any_proof(worker: Service) -> None:
    answer = worker.hello((7,))
    assert isinstance(answer, Error)
    assert told(answer) == "request.unsupported (version)"


def test_another_credential_is_a_violation(service: ServiceWorker) -> None:
    with connected(service.start(), bytes(32)) as worker, pytest.raises(Violation, match="no proof of the credential"):
        worker.hello()


def test_the_kit_tells_nobody_the_credential() -> None:
    assert "secret" not in repr(AtSocket("/x", b"secret" * 8, 0))


def test_nobody_there_is_a_fault(service: ServiceWorker) -> None:
    with pytest.raises(Fault):
        connected(service)
