"""The row about OpenSSL's GOST engine: what it makes behind the worker, and in a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench.link import LoneWorker
from bench.load import PartMissing
from bench.rows import Row
from bench.run import Run, say

__all__ = ["gost_worker"]

_KEY = "gost:bench"
_IN_FLIGHT = 8

# The same calls of the same engine as the backend's, on the same key, and no host, worker or link around them.
_IN_PROCESS = """
import hashlib, sys, time
from pathlib import Path
from signerd_key_gost.library import library
from signerd_key_gost.private_key import read_key
key = read_key(library(), Path(sys.argv[1]).read_bytes(), lambda: None)
digests = [hashlib.sha256(str(n).encode()).digest() for n in range(256)]
for digest in digests:
    key.sign(digest)
made, began = 0, time.perf_counter()
while (spent := time.perf_counter() - began) < float(sys.argv[2]):
    key.sign(digests[made % 256])
    made += 1
print(made / spent)
"""


def gost_worker(run: Run) -> None:
    """Host, worker and GOST R 34.10-2012 with 256 bits by OpenSSL's engine, against the engine in process."""
    if not list(Path("/usr/lib").glob("*/engines-3/gost.so")):
        raise PartMissing("no GOST engine: apt-get install libengine-gost-openssl")
    with tempfile.TemporaryDirectory(dir=run.directory) as directory:
        keys = Path(directory) / "keys"
        worker = LoneWorker("gost", {"directory": str(keys)})
        try:
            worker.make(_KEY, "GOST3410-2012-256")
            rates, ratios = [], []
            for _ in range(run.plan.pairs):
                rates.append(worker.rate(_KEY, _IN_FLIGHT, run.plan.seconds))
                peer = _rate_in_process(keys / "bench.pem", run.plan.seconds)
                ratios.append(rates[-1] / peer)
                say(f"  worker {rates[-1]:9,.0f}/s   in process {peer:9,.0f}/s")
        finally:
            worker.close()
    run.rows.append(
        Row(name="gost-worker", connections=_IN_FLIGHT, rate=round(median(rates), 1), ratio=round(median(ratios), 3))
    )


def _rate_in_process(key: Path, seconds: float) -> float:
    command = [sys.executable, "-c", _IN_PROCESS, str(key), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)
