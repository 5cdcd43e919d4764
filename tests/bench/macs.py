"""The row about MACs: a gigabyte by descriptor through the daemon, against ``openssl dgst`` on the same file."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from statistics import median

from bench.caller import Caller, CallFailed
from bench.load import PartMissing
from bench.peers import Daemon
from bench.processes import MemoryWatch, memory_mib, tree
from bench.rows import Row
from bench.run import Run, say
from running.configured import PLUGINS

__all__ = ["hmac_file"]

_BYTES = 1024 * 1024 * 1024
_PART = 8 * 1024 * 1024
_KEY = "hmac:bench"
_SECRET = bytes(range(64))


def hmac_file(run: Run) -> None:
    """HMAC-SHA256 of 1 GiB from the page cache, in pairs with openssl; rate is MiB a second."""
    if shutil.which("openssl") is None:
        raise PartMissing("no openssl: apt-get install openssl")
    file = run.directory / "gibibyte"
    _write(file)
    try:
        with run.fresh_daemon(_configuration(run.directory)) as daemon:
            _measure(run, daemon, file)
    finally:
        file.unlink()


def _measure(run: Run, daemon: Daemon, file: Path) -> None:
    walls, ratios = [], []
    with Caller(daemon.socket) as caller:
        made, _ = _ours(caller, file)
        expected, _ = _theirs(file)
        if made != expected:
            raise CallFailed("the daemon's MAC is not that of openssl")
        before = _workers(daemon)
        with MemoryWatch(daemon.pid) as watch:
            for _ in range(run.plan.pairs):
                walls.append(_ours(caller, file)[1])
                ratios.append(_theirs(file)[1] / walls[-1])
                say(f"  signerd {walls[-1]:.3f} s   ratio {ratios[-1]:.2f}")
        after = _workers(daemon)
    detail = {
        "bytes": _BYTES,
        "wall_s": round(median(walls), 3),
        "worker_mib_before": round(before, 1),
        "worker_mib_after": round(after, 1),
        "worker_growth_mib": round(watch.growth_of("key worker"), 2),
    }
    rate = _BYTES / 1024 / 1024 / median(walls)
    run.rows.append(
        Row(name="hmac-1-gib", connections=1, rate=round(rate, 1), ratio=round(median(ratios), 3), detail=detail)
    )


def _ours(caller: Caller, file: Path) -> tuple[bytes, float]:
    began = time.perf_counter()
    descriptor = os.open(file, os.O_RDONLY)
    try:
        data = {"fd": 0, "size": _BYTES}
        made = caller.call("hmac.compute", {"purpose": "signing", "key": _KEY, "data": data}, (descriptor,))
    finally:
        os.close(descriptor)
    return made["mac"], time.perf_counter() - began


def _theirs(file: Path) -> tuple[bytes, float]:
    options = ["-mac", "hmac", "-macopt", f"hexkey:{_SECRET.hex()}", "-binary"]
    began = time.perf_counter()
    done = subprocess.run(["openssl", "dgst", "-sha256", *options, str(file)], check=True, capture_output=True)
    return done.stdout, time.perf_counter() - began


def _workers(daemon: Daemon) -> float:
    """MiB of the key workers together."""
    return sum(memory_mib(pid)[0] for pid, role in tree(daemon.pid).items() if role == "key worker")


def _write(file: Path) -> None:
    with file.open("wb") as out:
        for _ in range(_BYTES // _PART):
            out.write(os.urandom(_PART))
    os.sync()  # what is written to disk meanwhile would be measured too


def _configuration(folder: Path) -> str:
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    secret = secrets / "bench.hmac-sha256"
    secret.touch(mode=0o600)
    secret.write_bytes(_SECRET)
    return f"""
{PLUGINS}
[backends.file]
certificate = "none"
scheme = "file"
settings = {{ directory = "{folder}/bench-keys" }}
[backends.hmac]
certificate = "none"
scheme = "hmac"
settings = {{ directory = "{secrets}" }}
[tenants.local]
keys = ["file:default", "{_KEY}"]
[keys."file:default"]
backend = "file"
tenant = "local"
generate = "ES256"
[keys."{_KEY}"]
backend = "hmac"
tenant = "local"
purposes = ["signing"]
algorithm = "HMAC-SHA256"
"""
