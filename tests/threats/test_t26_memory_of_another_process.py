"""T26: another process of the same user reads a worker's memory.

Root reads whatever it likes by CAP_SYS_PTRACE, so the attack is played without it: who runs the tests as root
gives that and all else up that has to do with processes, and is to ptrace(2) then as any plain user is. It
first reads the memory of an ordinary child, to show that it can where nothing stops it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ATTACK = """
import json, os, subprocess, sys, tempfile
from signerd.host.spawn import spawn

def give_up_capabilities():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    kept = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root may run from a folder that is another user's
    for capability in {*range(64)} - {1, 2}:
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, or children of uid 0 would have it again
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    held = kept if os.geteuid() == 0 else 0
    assert libc.capset(header, (ctypes.c_uint32 * 6)(held, held)) == 0

def memory(pid):
    try:
        with open(f"/proc/{pid}/maps") as maps:
            start = int(maps.readline().split("-")[0], 16)
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        return len(os.pread(fd, 16, start))
    except OSError as exc:
        return type(exc).__name__

def trace(pid):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    result = libc.ptrace(16, pid, 0, 0)  # PTRACE_ATTACH
    if result == 0:
        os.waitpid(pid, 0)
        libc.ptrace(17, pid, 0, 0)  # PTRACE_DETACH
    return result

def core(pid):
    with open(f"/proc/{pid}/limits") as limits:
        return next(line.split()[4:6] for line in limits if line.startswith("Max core file size"))

def hello(process):
    body = b"\\x83\\xa4type\\xa5hello\\xa8versions\\x91\\x01\\xa8software\\xa4test"
    process.socket.sendall(len(body).to_bytes(4, "big") + body)
    process.socket.settimeout(20)
    assert process.socket.recv(4096)

give_up_capabilities()
plain = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1, stdout=-1)
plain.stdout.readline()
report = {"plain": {"memory": memory(plain.pid), "trace": trace(plain.pid)}}
plain.communicate(b"\\n")
with tempfile.TemporaryDirectory() as keys:
    settings = {"scheme": "file", "name": "file", "settings": {"directory": keys}}
    worker = spawn("signerd.worker.key", settings=json.dumps(settings).encode())
    hello(worker)
    report["key"] = {"memory": memory(worker.pid), "trace": trace(worker.pid), "core": core(worker.pid)}
    worker.end(5)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if scope.exists() and int(scope.read_text()) > 1:
        pytest.skip("this kernel lets no user trace anything (yama): there is no attack to play")
    done = subprocess.run([sys.executable, "-c", ATTACK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_attack_works_where_nothing_stops_it(report: dict[str, Any]) -> None:
    assert report["plain"]["memory"] == 16


def test_the_key_workers_memory_cannot_be_read(report: dict[str, Any]) -> None:
    assert report["key"]["memory"] == "PermissionError"


def test_nor_can_it_be_traced(report: dict[str, Any]) -> None:
    assert report["plain"]["trace"] == 0
    assert report["key"]["trace"] == -1


def test_it_leaves_no_core(report: dict[str, Any]) -> None:
    assert report["key"]["core"] == ["0", "0"]
