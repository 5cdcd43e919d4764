"""The row about a large key ring: what a hundred thousand versions cost a start, and what they cost each signature."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.caller import Caller, verify_bundle
from bench.load import Sample
from bench.peers import RELEASE, Daemon
from bench.processes import cpu_seconds, tree
from bench.rows import pair_rows, sample_row
from bench.run import KEY, Run, say
from bench.templates import cyclonedx, sign_dsse, sign_params
from signerd.host.clock import SystemClock
from signerd.sealer import audit, ring
from signerd.sealer.audit import SqliteAuditStore
from signerd.sealer.lock import prepare_state
from signerd.sealer.ring import RingStore
from signerd.sealer.versions import Versions
from signerd.wire.ring import RingEntry

__all__ = ["VERSIONS", "fill", "large_ring"]

VERSIONS = 100_000
_OF_A_KEY = 4
_AT_ONCE = 1000
_PAYLOAD_BYTES = 2048
_CONNECTIONS = 8


def large_ring(run: Run) -> None:
    """100,000 versions in the ring: start to `ready` and to a verified signature; the rate over a small ring's."""
    filled = run.directory / "large-ring"
    began = time.monotonic()
    fill(filled, VERSIONS)
    say(f"  ring: {VERSIONS:,} versions written in {time.monotonic() - began:.1f} s")
    large, small = _Starts(), _Starts()
    for _ in range(run.plan.pairs):
        with run.fresh_daemon(prepare=lambda state: shutil.copytree(filled, state)) as daemon:
            large.take(daemon)
        with run.fresh_daemon() as daemon:
            small.take(daemon)
        say(
            f"  ring: ready after {large.ready[-1]:.2f} s, verified after {large.verified[-1]:.2f} s, "
            f"{large.cpu[-1]:.2f} s of them processor time; a small one's {small.verified[-1]:.2f} s"
        )
    samples, memory = _rates(run, filled)
    mine, theirs = zip(*samples, strict=True)
    row = sample_row(
        "ring",
        mine,
        pss_mib=median(memory),
        versions=VERSIONS,
        ready_s=round(median(large.ready), 2),
        wall_s=round(median(large.verified), 2),
        longest_s=round(max(large.verified), 2),
        cpu_s=round(median(large.cpu), 2),
        small_wall_s=round(median(small.verified), 2),
        small_cpu_s=round(median(small.cpu), 2),
    )
    run.rows.append(pair_rows(row, mine, theirs))


@dataclass(slots=True)
class _Starts:
    """Seconds from exec to `ready` and to a verified signature, and the processor time of all processes by then."""

    ready: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, daemon: Daemon) -> None:
        """Take note of a daemon that has just said `ready`."""
        self.ready.append(time.monotonic() - daemon.started_at)
        with Caller(daemon.socket) as caller:
            result = caller.call("sign.dsse", sign_params(cyclonedx(_PAYLOAD_BYTES), RELEASE))
            verify_bundle(result["bundles"][0], caller.call("keys.describe", {"key": KEY})["spki"])
        self.verified.append(time.monotonic() - daemon.started_at)
        self.cpu.append(sum(cpu_seconds(pid) for pid in tree(daemon.pid)))


def _rates(run: Run, filled: Path) -> tuple[list[tuple[Sample, Sample]], list[float]]:
    """Samples of a large ring's daemon and a small one's in turn, and the memory of the former."""
    samples, memory = [], []
    template = sign_dsse(_PAYLOAD_BYTES, RELEASE)
    with ExitStack() as stack:
        large = stack.enter_context(run.fresh_daemon(prepare=lambda state: shutil.copytree(filled, state)))
        small = stack.enter_context(run.fresh_daemon())
        for _ in range(run.plan.pairs):
            taken = run.take(large, template, _CONNECTIONS)
            run.verify_last(large)
            memory.append(sum(usage.memory_mib for usage in taken.memory))
            samples.append((taken.sample, run.take(small, template, _CONNECTIONS).sample))
    return samples, memory

def fill(state: Path, count: int) -> None:
    """Make a state directory whose ring has `count` versions of keys that are not configured, each with its leaf."""
    prepare_state(state)
    with closing(SqliteAuditStore(state / audit.FILE_NAME)) as log, closing(RingStore(state / ring.FILE_NAME)) as store:
        clock = SystemClock()
        versions = Versions(store, log, clock)
        entries = _entries(count, clock.now_ms())
        while some := list(islice(entries, _AT_ONCE)):
            versions.change("generate", some)


def _entries(count: int, now: int) -> Iterator[RingEntry]:
    for number in range(count):
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        reference, version = f"file:kept-{number // _OF_A_KEY:06}", number % _OF_A_KEY + 1
        newest = version == _OF_A_KEY
        yield RingEntry(
            reference,
            "local",
            version,
            f"sha256:{sha256(spki).hexdigest()}",
            "ES256",
            spki,
            "file",
            "active" if newest else "retiring",
            now - 1000,
            retire_at=0 if newest else now,
            handle="" if version == 1 else f"{reference}.v{version}",
        )
