"""The processes of a running daemon, looked at from outside: hardened each for itself, and gone together."""

import json
import os
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from running.callers import Callers, request, sign_until, unrecorded
from running.configured import until
from running.daemon import RELEASE, Running, running
from running.loaded import asked, listening_environment
from signerd_client import Signer, SignRequest, Subject

ROLES = ["front end", "sealer", "key", "document"]

def large_request() -> SignRequest:
    """Return one whose document is checked by the document worker."""
    components = [{"type": "library", "name": f"part-{n}", "version": "1"} for n in range(8000)]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    return SignRequest(
        subject=[Subject("app", {"sha256": "00" * 32})],
        predicate_type="https://cyclonedx.org/bom",
        predicate=json.dumps(document).encode(),
        scanner_image_digest=RELEASE,
    )


def started(base: Path, environment: dict[str, str] | None = None) -> tuple[Running, dict[str, int]]:
    """Start a daemon, have it start its last process too, and return all pids by role."""
    daemon = Running(base, environment=environment).wait_ready()
    with Signer.connect(daemon.socket) as signer:
        signer.sign_dsse(large_request())
    return daemon, {"front end": daemon.pid, **daemon.children()}


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[tuple[Running, dict[str, int]]]:
    daemon, pids = started(tmp_path)
    yield daemon, pids
    daemon.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The pids of a daemon that nobody kills."""
    daemon, pids = started(tmp_path_factory.mktemp("kept"))
    yield pids
    daemon.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids: Iterable[int], seconds: float) -> None:
    waiting = list(pids)
    until(lambda: not any(runs(pid) for pid in waiting), seconds)


def test_there_is_one_of_each(kept: dict[str, int]) -> None:
    assert set(kept) == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_it_leaves_no_core(role: str, kept: dict[str, int]) -> None:
    assert resource.prlimit(kept[role], resource.RLIMIT_CORE) == (0, 0)


def test_each_has_closed_itself_to_others_of_the_same_user(tmp_path: Path) -> None:
    """Non-dumpable, each by its own word; tests/threats plays the attack on one of them."""
    folder = tmp_path / "asked"
    folder.mkdir()
    daemon, pids = started(tmp_path, environment=listening_environment(folder))
    try:
        assert {role: asked(folder, pid)[0] for role, pid in pids.items()} == dict.fromkeys(ROLES, 0)
    finally:
        daemon.close()


def test_workers_end_with_a_sealer_that_is_killed(whole: tuple[Running, dict[str, int]]) -> None:
    daemon, pids = whole
    os.kill(pids["key"], signal.SIGSTOP)  # not even one that hangs stays
    os.kill(pids["sealer"], signal.SIGKILL)
    gone([pids["key"]], 2)
    sign_until(daemon.socket, 5)
    assert runs(pids["front end"])
    assert runs(pids["document"])
    assert daemon.child("key") != pids["key"]


def test_all_end_with_a_front_end_that_is_killed(whole: tuple[Running, dict[str, int]]) -> None:
    daemon, pids = whole
    os.kill(pids["document"], signal.SIGSTOP)
    os.kill(pids["key"], signal.SIGSTOP)
    daemon.kill()
    gone(pids.values(), 2)


def test_a_document_worker_that_is_killed_is_replaced(whole: tuple[Running, dict[str, int]]) -> None:
    daemon, pids = whole
    os.kill(pids["document"], signal.SIGKILL)
    gone([pids["document"]], 2)
    with Signer.connect(daemon.socket) as signer:
        signer.sign_dsse(large_request())
    assert daemon.child("document") != pids["document"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_of_them_ends_the_daemon_in_order(tmp_path: Path, number: int) -> None:
    """A service manager signals the whole group: the children wait for the front end's word all the same."""
    daemon, pids = started(tmp_path)
    try:
        with Callers(daemon.socket) as callers:
            callers.wait_for_more(20)
            for role in ["key", "document", "sealer", "front end"]:
                os.kill(pids[role], number)
            assert daemon.wait_ended() == 0
        gone(pids.values(), 2)
    finally:
        daemon.close()
    assert not daemon.socket.exists()
    leaves = daemon.leaves()
    assert unrecorded(callers.held, leaves) == []
    assert {leaf["outcome"] for leaf in leaves if leaf["kind"] == "outcome"} <= {"signed", "signed_undelivered"}


def test_hangup_ends_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        pids = {"front end": daemon.pid, **daemon.children()}
        for pid in pids.values():
            os.kill(pid, signal.SIGHUP)
        with Signer.connect(daemon.socket) as signer:
            signer.sign_dsse(request())
        time.sleep(0.1)
        assert {"front end": daemon.pid, **daemon.children()} == pids
        assert daemon.status is None
