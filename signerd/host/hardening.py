"""What each process does to itself before it touches anything secret (T26).

Another process of the same user could otherwise read its memory by ptrace(2) or /proc/PID/mem, or find it in
a core dump. ``PR_SET_DUMPABLE`` 0 closes the first two ways for everybody without CAP_SYS_PTRACE.
"""

import ctypes
import os
import resource
import signal
from typing import Final

__all__ = ["PARENT_VARIABLE", "harden"]

PARENT_VARIABLE: Final = "SIGNERD_PARENT"
"""Environment: the pid of the process that started this one, as :mod:`signerd.host.spawn` sets it."""

# prctl(2), from linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4


def harden(*, die_with_parent: bool) -> None:
    """Make this process non-dumpable, without core files; to be called first in each main.

    ``die_with_parent`` asks the kernel for SIGKILL when the thread that started this process ends, and exits
    at once where the parent has ended before that was in force. Raises OSError where the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    _checked(prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    if not die_with_parent:
        return
    _checked(prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    # The signal is sent for a death from now on: one that came earlier shows as another parent.
    expected = os.environ.get(PARENT_VARIABLE, "")
    if expected and os.getppid() != int(expected):
        raise SystemExit(0)


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl")
