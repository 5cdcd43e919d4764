"""The start: `ready` means that it signs, and what cannot start says why, ends, and leaves no process behind."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from running.callers import request, sign_until
from running.configured import configuration, until
from running.daemon import Running, running
from signerd.errors import SignerdError
from signerd.verification.bundle import verify_bundle
from signerd.verification.keys import PublicKey
from signerd_client import Signer


@contextlib.contextmanager
def starting(base: Path, config: str | None = None, arguments: Sequence[str] = ()) -> Iterator[Running]:
    """Start a daemon without waiting for it."""
    daemon = Running(base, config=config, arguments=arguments)
    try:
        yield daemon
    finally:
        daemon.close()


def processes_of(state: Path) -> list[int]:
    """Pids of all that run on behalf of this state directory, by what they have open or were told."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.fsencode(state) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def test_ready_means_that_the_first_request_is_signed(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, Signer.connect(daemon.socket) as signer:
        assert daemon.said == f"ready unix:{daemon.socket}\n"
        health = signer.health()
        assert health.ready
        assert all(check.ok for check in health.checks)
        signed = signer.sign_dsse(request(1))
        key = PublicKey.from_pem(signer.describe("file:default").public_key_pem)
        assert verify_bundle(signed.bundles[0], key, artifact_sha256=f"{1:064x}").verified


def test_the_first_start_makes_a_key_and_writes_it_down_before_it_signs(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        sign_until(daemon.socket, 5)
        assert [leaf["kind"] for leaf in daemon.leaves()][:3] == ["start", "ring", "decided"]
        (file,) = (daemon.state / "keys").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert daemon.state.stat().st_mode & 0o777 == 0o700
        assert daemon.socket.stat().st_mode & 0o777 == 0o600
        assert {path.stat().st_mode & 0o077 for path in daemon.state.iterdir()} == {0}


@pytest.mark.parametrize(
    ("file", "status", "word"), [("audit.sqlite", 10, "audit log"), ("ring.sqlite", 1, "key ring")]
)
def test_a_damaged_file_stops_the_start_and_is_left_as_it_is(tmp_path: Path, file: str, status: int, word: str) -> None:
    with running(tmp_path) as daemon:
        sign_until(daemon.socket, 5)
    damaged = b"no database at all, " * 500
    for name in (file, f"{file}-wal", f"{file}-shm"):
        (daemon.state / name).unlink(missing_ok=True)
    (daemon.state / file).write_bytes(damaged)
    with starting(tmp_path) as second:
        assert second.wait_ended() == status
        assert word in second.said
        assert "Traceback" not in second.said
        assert "ready" not in second.said
    assert (daemon.state / file).read_bytes() == damaged


def test_a_plugin_that_is_not_installed_stops_the_start(tmp_path: Path) -> None:
    config = configuration(tmp_path, {}).replace("[plugins.predicates-stella]", "[plugins.predicates-nobody]")
    with starting(tmp_path, config) as daemon:
        assert daemon.wait_ended() == 2
        assert "predicates-nobody" in daemon.said
        assert "Traceback" not in daemon.said
        assert not daemon.socket.exists()


def test_a_plugin_that_refuses_its_settings_stops_the_start_and_leaves_no_sealer(tmp_path: Path) -> None:
    config = configuration(tmp_path, {}).replace("[plugins.auth-peercred]", "[plugins.auth-peercred]\nbogus = 1")
    with starting(tmp_path, config) as daemon:
        until(lambda: daemon.status is not None)
        assert processes_of(tmp_path) == []  # all are told where the configuration is
        assert daemon.wait_ended() == 2
        assert "bogus" in daemon.said


def test_a_backend_that_does_not_start_leaves_the_daemon_up_and_unready(tmp_path: Path) -> None:
    """It is tried again, more and more seldom, and meanwhile everything else answers."""
    config = configuration(tmp_path, {}).replace("settings = { directory", "settings = { bogus = 1, directory")
    with starting(tmp_path, config) as daemon:
        daemon.wait_ready()
        with Signer.connect(daemon.socket) as signer:
            health = signer.health()
            assert not health.ready
            assert {check.name: check.ok for check in health.checks} == {"audit": True, "backends": False}
            with pytest.raises(SignerdError) as caught:
                signer.sign_dsse(request())
            assert caught.value.code.startswith("key.")
            time.sleep(2)
            assert 2 <= daemon.said.count("worker ended with status 2") <= 6
            assert [leaf["kind"] for leaf in daemon.leaves()] == ["start", "refused"]


def test_a_start_that_is_broken_off_leaves_nothing_behind(tmp_path: Path) -> None:
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25):
        with starting(tmp_path) as daemon:
            time.sleep(pause)
            daemon.terminate()
        until(lambda: processes_of(daemon.state) == [], 3)
    with running(tmp_path) as daemon:
        sign_until(daemon.socket, 5)


def test_equal_requests_get_equal_bytes_from_one_start_to_the_next(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        with running(tmp_path) as daemon, Signer.connect(daemon.socket) as signer:
            seen.add(hashlib.sha256(signer.sign_dsse(request(7)).bundles[0]).hexdigest())
    assert len(seen) == 1
