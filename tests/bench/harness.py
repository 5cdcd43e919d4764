"""``scripts/bench``: its options, the order of things and what is printed.

Pairs are interleaved (signerd, ssh-agent, signerd, …) so that whatever else the machine does meets both; the
figures are medians over the pairs of one run. Rows that need what is missing are skipped and listed.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature

from bench.caller import CallFailed
from bench.load import LoadFailed, PartMissing
from bench.measures import ROWS, purpose, selected
from bench.peers import PeerFailed
from bench.rows import Report, Unmeasured, table
from bench.run import FULL, QUICK, Run, say

__all__ = ["main"]

# What a peer can do wrong: not start, refuse, hang up, or answer what the protocol does not say.
_FAILURES = (
    CallFailed,
    InvalidSignature,
    LoadFailed,
    LookupError,
    msgspec.MsgspecError,
    OSError,
    PeerFailed,
    ValueError,
)


def main(arguments: list[str]) -> int:
    """Run the benchmark. 0: all that could be measured was, without failures; 1: not so; 2: usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        names = selected(options.only)
    except KeyError as unknown:
        parser.error(f"no row {unknown.args[0]!r}; there are: {', '.join(ROWS)}")
    if options.profile:
        from bench.stages import print_stages

        return print_stages()
    if options.verify:
        from bench.verifying import print_verifying

        return print_verifying()
    report = _measure(names, quick=options.quick)
    sys.stdout.write(table(report.rows) + "\n")
    for unmeasured in report.skipped:
        say(f"skipped {unmeasured.name}: {unmeasured.why}")
    for unmeasured in report.failed:
        say(f"FAILED {unmeasured.name}: {unmeasured.why}")
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if report.failed or any(row.failures for row in report.rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="signerd against ssh-agent under one closed-loop load; medians of interleaved pairs.",
        epilog=f"Rows: {', '.join(ROWS)}. How each is measured: docs/performance.md.",
    )
    parser.add_argument("--quick", action="store_true", help="1 s samples and 2 pairs instead of 2 s and 5")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="only this row or family; repeatable"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows to FILE as JSON")
    parser.add_argument(
        "--profile", action="store_true", help="only µs of each stage of one signature, in process"
    )
    parser.add_argument(
        "--verify", action="store_true", help="only how many bundles a core verifies in a minute, in process"
    )
    return parser


def _measure(names: list[str], quick: bool) -> Report:
    failed: list[Unmeasured] = []
    with tempfile.TemporaryDirectory(prefix="signerd-bench-") as directory, ExitStack() as stack:
        machine = _machine(Path(directory))
        say(", ".join(f"{name} {value}" for name, value in machine.items()))
        run = Run(QUICK if quick else FULL, Path(directory), stack)
        for position, name in enumerate(names, 1):
            say(f"[{position}/{len(names)}] {name}: {purpose(name)}")
            try:
                ROWS[name](run)
            except PartMissing as missing:
                run.skipped.append(Unmeasured(name, str(missing)))
            except _FAILURES as error:
                failed.append(Unmeasured(name, f"{type(error).__name__}: {error}"))
    return Report(rows=run.rows, skipped=run.skipped, failed=failed, machine=machine)


def _disk(directory: Path) -> dict[str, float]:
    """µs of one fdatasync of 4 KiB where the state lies: no commit of the audit log is faster."""
    waits = []
    descriptor = os.open(directory / "disk", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for block in range(100):
            os.pwrite(descriptor, bytes(4096), block * 4096)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            waits.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(descriptor)
    waits.sort()
    return {"fdatasync_p50_us": round(waits[49], 1), "fdatasync_p90_us": round(waits[89], 1)}


def _machine(directory: Path) -> dict[str, str | int | float | None]:
    ssh = shutil.which("ssh")
    # ssh -V answers on stderr.
    said = (
        subprocess.run([ssh, "-V"], capture_output=True, text=True, check=False).stderr.strip()
        if ssh
        else None
    )
    return _disk(directory) | {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssh": said,
    }
