"""Configuration files for test daemons, and what can be seen of a process from outside."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from running.daemon import RELEASE, Running

__all__ = ["PLUGINS", "configuration", "key_workers", "memory_kib", "open_descriptors", "records", "stopped", "until"]

PLUGINS = f"""
[plugins.auth-peercred]
certificate = "none"
[plugins.entitlement-file]
certificate = "none"
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
[plugins.predicates-intoto]
certificate = "none"
"""
"""The plugins that any daemon of the tests needs: everybody of this uid may sign, what :data:`RELEASE` made."""


def configuration(base: Path, limits: Mapping[str, float], *, sign: str = "") -> str:
    """The embedded defaults as a file, with other ``limits``; ``sign`` is the text of ``[sockets.sign]``."""
    table = "\n".join(f"{name} = {value}" for name, value in limits.items())
    return f"""
[sockets.sign]
{sign}
[limits]
{table}
{PLUGINS}
[plugins.predicates-stella]
certificate = "none"
[backends.file]
certificate = "none"
scheme = "file"
settings = {{ directory = "{base}/state/keys" }}
[tenants.local]
keys = ["file:default"]
[keys."file:default"]
backend = "file"
tenant = "local"
generate = "ES256"
"""


def memory_kib(pid: int, field: str = "VmRSS") -> int:
    """A field of /proc/PID/status that is counted in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {field}")


def open_descriptors(pid: int) -> int:
    """How many descriptors a process has open. The folder of one that is not dumpable is root's, its size is
    not."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        counted = os.stat(f"/proc/{pid}/fd").st_size
        if not counted:
            pytest.skip("this kernel does not count another process's descriptors (Linux 6.2 does)")
        return counted


def records(daemon: Running) -> dict[str, list[str]]:
    """How each request to sign ended: the outcomes in the log by audit id, oldest first; one each is right (T3).

    Left out are the counts of what was refused without a record of its own: they come when a minute is over (T13); and
    assertions, which stand under the ids of approvals.
    """
    found: dict[str, list[str]] = {}
    for row in daemon.leaves():
        leaf = json.loads(bytes(row["leaf"]))  # type: ignore[call-overload]  # a blob
        method = leaf.get("request", {}).get("method", "sign.dsse")
        begun = row["audit_id"] is not None and row["kind"] != "presence"
        if begun and method.startswith("sign.") and "count" not in leaf:
            ends = found.setdefault(str(row["audit_id"]), [])
            if row["outcome"]:
                ends.append(str(row["outcome"]))
    return found


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let the process hang, and go on at the end unless it has gone."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a condition holds; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def key_workers(daemon: Running) -> list[int]:
    """The key workers, in the order in which their backends are configured."""
    sealer, found = daemon.child("sealer"), []
    for task in Path(f"/proc/{sealer}/task").iterdir():
        for pid in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"signerd.worker.key" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    found.append(int(pid))
    return sorted(found)
