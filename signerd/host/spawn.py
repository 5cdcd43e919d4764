"""Starts a worker or the sealer as a process of its own, and ends it without leaving anything behind.

The child gets one end of a socketpair by number (``--fd N``), its settings on standard input, nothing else:
no other descriptor, no standard output (a backend that prints must not write into a protocol), a short
environment, its own process group. Both ends of ownership are here: whoever spawns also reaps.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from signerd.host.hardening import PARENT_VARIABLE
from signerd.host.memfd import sealed_memfd

__all__ = ["PASSED_VARIABLES", "Spawned", "identity_environment", "spawn"]

IDENTITY_VARIABLES: Final = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "SIGSTORE_ID_TOKEN")
"""Where CI systems put the identity of a job. Secrets: the sealer hands them on to workers that sign by them."""
PASSED_VARIABLES: Final = (
    "CREDENTIALS_DIRECTORY",  # systemd.exec(5): where a key's password or the key itself may lie
    "HOME",  # of the user site, so that the child finds the code that the parent runs
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "PATH",
    "PYTHONPATH",  # the child must import the very files that the parent did
    "TZ",
)
"""All that a child sees of the parent's environment. A token or proxy that somebody exported stays here."""


class Spawned:
    """A process that was started here: ``pid``, ``socket`` (this side's end) and ``pidfd``.

    ``pidfd`` becomes readable when the process has ended: wait for it in a loop, then call :meth:`reap`.
    """

    __slots__ = ("_process", "pid", "pidfd", "socket")

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self.pid = process.pid
        self.socket = connection
        self.pidfd = os.pidfd_open(process.pid)

    @property
    def status(self) -> int | None:
        """The exit status as subprocess has it (negative: the signal), None before :meth:`reap` saw it."""
        return self._process.returncode

    @property
    def fate(self) -> str:
        """What :meth:`reap` has seen, for the log."""
        return f"worker ended with status {self.status}"

    def kill(self) -> None:
        """Kill the process and whatever it started in its group; harmless when it is gone."""
        if self._process.returncode is None:
            # Not reaped yet, so the number is still its own: nobody else can be hit.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self, seconds: float = 0) -> bool:
        """Take the status if the process has ended, kill what is left of its group, close both descriptors.

        Waits ``seconds`` for its end. Whether it is over; False means that the process still runs.
        """
        if self._process.returncode is not None:
            return True
        if not self._ended(seconds):
            return False
        self.kill()  # while the zombie holds the group's number
        self._process.wait()
        os.close(self.pidfd)
        self.socket.close()
        return True

    def end(self, seconds: float) -> None:
        """Close the link, give the process ``seconds`` to finish by itself, then kill it; waits until it is
        reaped.

        For the end of a process that has no loop to run any more.
        """
        if self._process.returncode is not None:
            return
        self.socket.close()
        self._ended(seconds)
        self.kill()
        deadline = time.monotonic() + 5
        while not self.reap() and time.monotonic() < deadline:
            self._ended(1)

    def _ended(self, seconds: float) -> bool:
        # Not select, which knows no descriptor above 1023: a front end may hold that many connections.
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


def spawn(
    module: str,
    args: Sequence[str] = (),
    *,
    settings: bytes | None = None,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Spawned:
    """Start ``python -m module *args --fd N`` and return it with the other end of its socket.

    ``settings`` is what its standard input holds (from a memfd: no pipe that could fill up); without it that
    is /dev/null. ``pass_fds`` keep their numbers. ``environment`` adds variables. Takes about 2 ms. To be
    called from the main thread: a child that dies with its parent dies with the thread that started it
    (prctl(2)). Raises OSError where no process can be made.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    stdin = subprocess.DEVNULL if settings is None else sealed_memfd("settings", settings)
    try:
        process = subprocess.Popen(
            [*_interpreter(), "-m", module, *args, "--fd", str(theirs.fileno())],
            stdin=stdin,
            stdout=2,  # standard output goes where standard error goes
            close_fds=True,
            pass_fds=(theirs.fileno(), *pass_fds),
            env={**_environment(), **(environment or {})},
            process_group=0,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        if stdin >= 0:
            os.close(stdin)
    return Spawned(process, ours)


def identity_environment() -> dict[str, str]:
    """Return this process's variables that prove the identity of a CI job, for :func:`spawn`."""
    return {name: os.environ[name] for name in IDENTITY_VARIABLES if name in os.environ}


def _interpreter() -> list[str]:
    # -P: the working directory is not searched for modules. -E and -s as the parent has them.
    flags = ["-P"]
    if sys.flags.ignore_environment:
        flags.append("-E")
    if sys.flags.no_user_site:
        flags.append("-s")
    return [sys.executable, *flags]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    kept[PARENT_VARIABLE] = str(os.getpid())
    return kept
