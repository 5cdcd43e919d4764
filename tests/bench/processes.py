"""What the kernel says about the processes of a peer: memory, processor time, and which is which."""

import itertools
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["MemoryWatch", "Usage", "cpu_seconds", "memory_mib", "shared_kib", "status_kib", "tree", "usages"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = (
    ("document", "document worker"),
    ("publisher", "publisher"),
    ("sealer", "sealer"),
    ("worker", "key worker"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """One process: memory in MiB (`measure`: pss, or rss where the kernel refuses pss) and CPU seconds."""

    role: str
    pid: int
    memory_mib: float
    measure: str
    cpu_s: float


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command, which may hold spaces and parentheses (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> dict[int, str]:
    """The live processes below `root`, itself included, each with its role, in the order of their pids."""
    parents: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except (OSError, IndexError):
                continue
    found = {root: "front end"}
    # A child's pid can be below its parent's after a wrap: repeat until nothing is added.
    while added := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= {pid: _role(pid) for pid in added}
    return dict(sorted(found.items()))


def _role(pid: int) -> str:
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "other"
    words = " ".join(arguments[arguments.index("-m") + 1 :] if "-m" in arguments else arguments)
    return next((role for word, role in _ROLES if word in words), "other")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far, without children; the resolution is one clock tick."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def status_kib(pid: int) -> dict[str, int]:
    """The fields of /proc/PID/status that are counted in kB."""
    sizes = {}
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        key, _, value = line.partition(":")
        if value.endswith(" kB"):
            sizes[key] = int(value.split()[0])
    return sizes


def memory_mib(pid: int) -> tuple[float, str]:
    """PSS in MiB; RSS, its upper bound, where the kernel keeps it from us: a non-dumpable process."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024, "pss"
    except PermissionError:
        pass
    return status_kib(pid)["VmRSS"] / 1024, "rss"


def usages(root: int) -> list[Usage]:
    """A snapshot of all processes below `root`; one that ends meanwhile is left out."""
    snapshot = []
    for pid, role in tree(root).items():
        try:
            memory, measure = memory_mib(pid)
            snapshot.append(Usage(role, pid, memory, measure, cpu_seconds(pid)))
        except (OSError, KeyError):
            continue
    return snapshot


def shared_kib() -> int:
    """All shared memory of the machine, memfds that nobody maps included."""
    for line in (_PROC / "meminfo").read_text().splitlines():
        if line.startswith("Shmem:"):
            return int(line.split()[1])
    raise OSError("no Shmem in /proc/meminfo")


@dataclass(slots=True)
class MemoryWatch:
    """Samples a process tree every few milliseconds and keeps the peaks.

    The sum counts what no two processes share (RssAnon) and, once, the shared memory of the machine beyond
    what there was at the start: a memfd that is written but mapped by nobody is in no process's RSS.
    """

    root: int
    interval_s: float = 0.02
    peak_kib: int = 0
    start_kib: int = 0
    anonymous_start: dict[str, int] = field(default_factory=dict)
    anonymous_peak: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _shared_start: int = 0
    _processes: dict[int, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Take the start and begin to sample in a thread."""
        self._shared_start = shared_kib()
        self._processes = tree(self.root)
        self.anonymous_start = self._anonymous()
        self.start_kib = sum(self.anonymous_start.values())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def growth_mib(self) -> float:
        """The peak of the sum above the sum at the start."""
        return max(0, self.peak_kib - self.start_kib) / 1024

    def growth_of(self, role: str) -> float:
        """The peak of one role's own memory above its start, in MiB; 0 for a role that was never seen."""
        return (self.anonymous_peak.get(role, 0) - self.anonymous_start.get(role, 0)) / 1024

    def _run(self) -> None:
        # Walking all of /proc costs milliseconds: a new child is found within five samples.
        for tick in itertools.count():
            if self._stop.wait(self.interval_s):
                return
            if tick % 5 == 0:
                self._processes = tree(self.root)
            now = self._anonymous()
            shared = max(0, shared_kib() - self._shared_start)
            self.peak_kib = max(self.peak_kib, sum(now.values()) + shared)
            for role, size in now.items():
                self.anonymous_peak[role] = max(self.anonymous_peak.get(role, 0), size)

    def _anonymous(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for pid, role in self._processes.items():
            try:
                sizes[role] = sizes.get(role, 0) + status_kib(pid)["RssAnon"]
            except (OSError, KeyError):
                continue
        return sizes
