"""What each process of a running daemon has imported and whether it is dumpable, asked of itself by a signal.

A folder on PYTHONPATH holds a ``sitecustomize`` that answers SIGUSR2 with PR_GET_DUMPABLE and the names in
``sys.modules``; signerd's own code knows nothing of it. (PYTHONPATH is on the path of the children too, or they would
not find what their parent found.)
"""

import os
import signal
import time
from pathlib import Path

__all__ = ["asked", "listening_environment"]

_SITE = """
import os, signal, sys

def write(number, frame):
    lines = sorted(sys.modules)
    import ctypes
    lines.insert(0, str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)))
    unfinished = f"FOLDER/{os.getpid()}.part"
    with open(unfinished, "w") as file:
        file.write("\\n".join(lines))
    os.rename(unfinished, f"FOLDER/{os.getpid()}")

signal.signal(signal.SIGUSR2, write)
"""


def listening_environment(folder: Path) -> dict[str, str]:
    """Return the environment for a daemon whose processes are to answer; their answers go to ``folder``."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE.replace("FOLDER", str(folder)))
    return {"PYTHONPATH": os.fspath(site)}


def asked(folder: Path, pid: int, seconds: float = 5) -> tuple[int, frozenset[str]]:
    """Return PR_GET_DUMPABLE of the process, and the names of all modules that it has imported so far."""
    os.kill(pid, signal.SIGUSR2)
    answer = folder / str(pid)
    until = time.monotonic() + seconds
    while not answer.exists():
        assert time.monotonic() < until, f"process {pid} does not answer"
        time.sleep(0.01)
    dumpable, *names = answer.read_text().split()
    return int(dumpable), frozenset(names)
