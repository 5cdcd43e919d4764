import subprocess
import sys


def test_what_the_workers_import_stays_small() -> None:
    # Every key worker pays for it in start-up time and memory; what only a backend needs it imports itself.
    heavy = {"trio", "anyio", "asyncio", "ssl", "http", "urllib.request", "sqlite3", "cryptography"}
    program = "import sys, signerd.worker.key, signerd.worker.document\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.split()) == set()


def test_a_worker_without_a_link_ends_with_a_sentence() -> None:
    for args in (["--fd", "99"], ["--fd", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "signerd.worker.key", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("signerd.worker.key: cannot start")


def test_settings_without_end_are_refused() -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-m", "signerd.worker.key", "--fd", str(theirs.fileno())],
            input=b" " * (5 << 20),
            pass_fds=[theirs.fileno()],
            capture_output=True,
            check=False,
        )
    assert done.returncode == 2
    assert b"longer than 4 MiB" in done.stderr
