"""T4: a crash between decision and signature, or between signature and outcome, once something is published.

Fulcio publishes each certificate in a CT log. So whenever Fulcio is asked, by whatever order of events, the decision
stands in the log, on disk.
"""

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.fulcio import ISSUER, FakeFulcio, fake_fulcio, jwt
from running.callers import request
from running.configured import records, until
from running.daemon import Running, running
from running.keyless_config import keyless_configuration
from signerd.errors import SignerdError
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest


@pytest.fixture
def fulcio() -> Iterator[FakeFulcio]:
    with fake_fulcio() as served:
        yield served


@pytest.fixture
def daemon(fulcio: FakeFulcio, tmp_path: Path) -> Iterator[Running]:
    ca, log = fulcio.files(tmp_path)
    config = keyless_configuration(tmp_path, fulcio.url, ca, log, [ISSUER], settings="timeout_s = 10")
    with running(tmp_path, config=config) as started:
        yield started


def keyless(token: str) -> SignRequest:
    asked = request()
    return SignRequest(
        subject=asked.subject,
        predicate_type=asked.predicate_type,
        predicate=asked.predicate,
        scanner_image_digest=asked.scanner_image_digest,
        options=Options(identity_token=token),
    )


def decided(daemon: Running) -> int:
    """How many decisions another process finds on disk."""
    return sum(row["kind"] == "decided" for row in daemon.leaves())


def test_whenever_fulcio_is_asked_the_decision_is_on_disk(daemon: Running, fulcio: FakeFulcio) -> None:
    found: list[int] = []
    fulcio.before = lambda: found.append(decided(daemon))
    with Signer.connect(daemon.socket) as signer:
        for number in range(1, 11):
            signer.sign_dsse(keyless(jwt(jti=str(number))))
            assert len(found) == number
            assert found[-1] >= number


def test_a_log_that_cannot_be_written_publishes_nothing(daemon: Running, fulcio: FakeFulcio) -> None:
    with contextlib.closing(sqlite3.connect(daemon.state / "audit.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else can commit
        with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as caught:
            signer.sign_dsse(keyless(jwt()))
        other.execute("ROLLBACK")
    assert caught.value.code == "audit.unavailable"
    assert fulcio.asked == []


@pytest.mark.parametrize("role", ["sealer", "key"])
def test_what_is_killed_while_fulcio_answers_leaves_a_record_that_is_closed(
    daemon: Running, fulcio: FakeFulcio, role: str
) -> None:
    answering, killed = threading.Event(), threading.Event()

    def hold() -> None:
        answering.set()
        killed.wait(20)

    fulcio.before = hold
    codes: list[str] = []

    def ask() -> None:
        with Signer.connect(daemon.socket) as signer:
            try:
                signer.sign_dsse(keyless(jwt()))
            except SignerdError as error:
                codes.append(error.code)

    caller = threading.Thread(target=ask)
    caller.start()
    assert answering.wait(20)
    assert decided(daemon) == 1
    for pid in [daemon.child("sealer")] if role == "sealer" else workers(daemon):
        os.kill(pid, signal.SIGKILL)
    killed.set()
    caller.join(20)
    assert codes == ["audit.unavailable" if role == "sealer" else "key.backend_unavailable"]
    until(lambda: all(len(ends) == 1 for ends in records(daemon).values()), 20)
    ends = [ends for ends in records(daemon).values() if ends != ["signed"]]
    assert ends == [["unknown"] if role == "sealer" else ["fault"]]


def workers(daemon: Running) -> list[int]:
    """All key workers: that of the file keys too, since nothing tells from outside which is which."""
    tasks = Path(f"/proc/{daemon.child('sealer')}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
