import os
import subprocess
import sys

from signerd.host.hardening import PARENT_VARIABLE

PROGRAM = """
import ctypes, os, resource
from signerd.host.hardening import harden
harden(die_with_parent={die})
value = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(value), 0, 0, 0)  # PR_GET_PDEATHSIG
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), value.value)
"""


def run(*, die: bool, parent: int) -> str:
    environment = {**os.environ, PARENT_VARIABLE: str(parent)}
    command = [sys.executable, "-c", PROGRAM.format(die=die)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_process_is_not_dumpable_has_no_core_and_dies_with_its_parent_only_if_asked() -> None:
    assert run(die=False, parent=os.getpid()) == "0 0 0 0"
    assert run(die=True, parent=os.getpid()) == "0 0 0 9"


def test_a_process_whose_parent_has_died_before_ends_at_once() -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    assert run(die=True, parent=int(gone.stdout)) == ""
