"""The rows: what each one measures. A row's function takes the run and adds its rows to it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import msgspec

from bench.backends import restart, token, token_worker, wedged
from bench.caller import Caller, sealed_memfd, verify_bundle
from bench.gost import gost_worker
from bench.keyless import live_certificate
from bench.load import PartMissing, Sample
from bench.macs import hmac_file
from bench.peers import RELEASE, Daemon
from bench.processes import MemoryWatch, usages
from bench.ring import large_ring
from bench.rows import Row, Unmeasured, pair_rows, sample_row
from bench.run import KEY, Run, Taken, say
from bench.signers import two_signers
from bench.templates import Template, cyclonedx, sign_batch, sign_dsse, sign_params

__all__ = ["DEFAULT_ROWS", "ROWS", "purpose", "selected"]

_CONNECTIONS = (1, 8, 64)
_PAYLOAD_BYTES = 2048
_BATCH_ITEMS = 64
_DOCUMENTS_MB = (5, 50)
_SETTLE_S = 1.0
_LONGEST_LOAD_S = 300.0


def start(run: Run) -> None:
    """Wall clock from exec of `signerd serve` without state, a key to generate, to a verified signature."""
    walls = []
    for _ in range(run.plan.pairs):
        with run.fresh_daemon() as daemon:
            ready = time.monotonic() - daemon.started_at
            _sign_verified(daemon)
            walls.append(time.monotonic() - daemon.started_at)
        say(f"  start: ready after {ready * 1e3:.0f} ms, verified after {walls[-1] * 1e3:.0f} ms")
    run.rows.append(
        Row(
            name="start",
            connections=1,
            p50_us=round(median(walls) * 1e6),
            p99_us=round(max(walls) * 1e6),
            detail={"wall_s": round(median(walls), 3), "starts": len(walls)},
        )
    )


def rest(run: Run) -> None:
    """Memory of all processes of a daemon that has signed once and has had nothing to do for a second."""
    with run.fresh_daemon() as daemon:
        _sign_verified(daemon)
        time.sleep(_SETTLE_S)
        before = usages(daemon.pid)
        time.sleep(_SETTLE_S)
        after = usages(daemon.pid)
    idle = {usage.pid: usage.cpu_s for usage in before}
    processes = [
        {
            "role": usage.role,
            f"{usage.measure}_mib": round(usage.memory_mib, 1),
            "cpu_percent": round((usage.cpu_s - idle.get(usage.pid, 0.0)) / _SETTLE_S * 100, 1),
        }
        for usage in after
    ]
    total = round(sum(usage.memory_mib for usage in after), 1)
    run.rows.append(Row(name="rest", connections=0, pss_mib=total, detail={"processes": processes}))


def sign(run: Run, connections: int) -> None:
    """signerd and ssh-agent in turn: one P-256 signature a request, 2 KB each."""
    _pairs(run, f"signerd-{connections}", connections, sign_dsse(_PAYLOAD_BYTES, RELEASE))


def batch(run: Run) -> None:
    """`sign.batch` of 64 Statements on one connection; rate in signatures, latency of the whole batch."""
    _pairs(run, "batch", 1, sign_batch(_BATCH_ITEMS, _PAYLOAD_BYTES, RELEASE))


def agent(run: Run, connections: int) -> None:
    """ssh-agent alone."""
    taken = [_take_agent(run, connections) for _ in range(run.plan.pairs)]
    run.rows.append(_agent_row(connections, taken))


def _pairs(run: Run, name: str, connections: int, template: Template) -> None:
    daemon = run.daemon()
    mine: list[Taken] = []
    theirs: list[Taken] = []
    for _ in range(run.plan.pairs):
        mine.append(run.take(daemon, template, connections))
        if mine[-1].sample.answered:
            run.verify_last(daemon)
        try:
            theirs.append(_take_agent(run, connections))
        except PartMissing as missing:
            # signerd's row stands without a ratio; what is missing is told once.
            absent = Unmeasured(f"ssh-agent-{connections}", str(missing))
            if absent not in run.skipped:
                run.skipped.append(absent)
    samples = [taken.sample for taken in mine]
    row = sample_row(
        name,
        samples,
        template.signatures,
        _total_memory(mine),
        processes=_processes(mine, template.signatures),
    )
    if theirs:
        row = pair_rows(row, samples, [taken.sample for taken in theirs], template.signatures)
    run.rows.append(row)
    if theirs and template.signatures == 1:
        run.rows.append(_agent_row(connections, theirs))


def _take_agent(run: Run, connections: int) -> Taken:
    peer = run.agent()
    return run.take(peer, peer.template(_PAYLOAD_BYTES), connections)


def _agent_row(connections: int, taken: list[Taken]) -> Row:
    return sample_row(f"ssh-agent-{connections}", [one.sample for one in taken], 1, _total_memory(taken))


def _total_memory(taken: list[Taken]) -> float:
    return median(sum(usage.memory_mib for usage in one.memory) for one in taken)


def _processes(taken: list[Taken], signatures: int) -> list[dict[str, Any]]:
    """Each process under load: its memory, its share of one processor, and its processor time a signature."""
    lines = []
    for role in dict.fromkeys(usage.role for usage in taken[-1].memory):
        alike = [usage for usage in taken[-1].memory if usage.role == role]
        each = [one.cpu_s.get(role, 0.0) / max(1, one.sample.answered * signatures) for one in taken]
        rate = median(one.sample.rate for one in taken) * signatures
        lines.append(
            {
                "role": role,
                f"{alike[0].measure}_mib": round(sum(usage.memory_mib for usage in alike), 1),
                "cpu_us_per_signature": round(median(each) * 1e6, 1),
                "cpu_percent": round(median(each) * rate * 100, 1),
            }
        )
    return lines


@dataclass(slots=True)
class _Large:
    """What the rounds of one document size saw."""

    idle: list[Sample] = field(default_factory=list)
    beside: list[Sample] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    watches: list[MemoryWatch] = field(default_factory=list)


def document(run: Run, megabytes: int) -> None:
    """One large document by descriptor, a 2 KB caller beside it: its p99 idle and meanwhile; memory."""
    content = cyclonedx(megabytes * 1_000_000)
    seen = _Large()
    for _ in range(run.plan.pairs):
        with run.fresh_daemon() as daemon:
            _document_round(run, daemon, content, seen)
    ratio = median(b.p99_us / max(1.0, a.p99_us) for a, b in zip(seen.idle, seen.beside, strict=True))
    growth = median(watch.growth_mib for watch in seen.watches)
    processes = [
        {"role": role, "growth_mib": round(median(watch.growth_of(role) for watch in seen.watches), 1)}
        for role in seen.watches[-1].anonymous_peak
    ]
    row = sample_row(
        f"document-{megabytes}",
        seen.beside,
        pss_mib=median(watch.peak_kib for watch in seen.watches) / 1024,
        wall_s=round(median(seen.walls), 2),
        p99_idle_us=round(median(sample.p99_us for sample in seen.idle), 1),
        p99_beside_to_idle=round(ratio, 2),
        p99_by_time_idle_us=round(median(sample.p99_by_time_us for sample in seen.idle), 1),
        p99_by_time_beside_us=round(median(sample.p99_by_time_us for sample in seen.beside), 1),
        memory_to_size=round(growth / (len(content) / 2**20), 2),
        processes=processes,
    )
    # The rate is that of documents: the 2 KB caller's is no more than the inverse of its latency.
    run.rows.append(msgspec.structs.replace(row, rate=round(1 / median(seen.walls), 3)))


def _document_round(run: Run, daemon: Daemon, content: bytes, seen: _Large) -> None:
    small = sign_dsse(_PAYLOAD_BYTES, RELEASE)
    with Caller(daemon.socket) as caller:
        spki = caller.call("keys.describe", {"key": KEY})["spki"]
        seen.idle.append(run.take(daemon, small, 1).sample)
        with run.load().start(daemon.socket, small, 1, _LONGEST_LOAD_S, run.plan.warm) as running:
            running.wait_measuring()
            with MemoryWatch(daemon.pid) as watch:
                began = time.monotonic()
                bundle = _sign_by_descriptor(caller, content)
                seen.walls.append(time.monotonic() - began)
            seen.beside.append(running.stop())
    seen.watches.append(watch)
    verify_bundle(bundle, spki)
    megabytes = len(content) // 1_000_000
    say(
        f"  {megabytes} MB in {seen.walls[-1]:.2f} s, p99 beside {seen.beside[-1].p99_us:,.0f} µs, "
        f"memory +{watch.growth_mib:,.0f} MiB"
    )


def _sign_verified(daemon: Daemon) -> None:
    """Sign 2 KB and verify the bundle under the key that the daemon names; raises where that fails."""
    with Caller(daemon.socket) as caller:
        result = caller.call("sign.dsse", sign_params(cyclonedx(_PAYLOAD_BYTES), RELEASE))
        verify_bundle(result["bundles"][0], caller.call("keys.describe", {"key": KEY})["spki"])


def _sign_by_descriptor(caller: Caller, content: bytes) -> bytes:
    descriptor = sealed_memfd(content)
    try:
        params = sign_params({"fd": 0, "size": len(content)}, RELEASE)
        bundle: bytes = caller.call("sign.dsse", params, (descriptor,))["bundles"][0]
    finally:
        os.close(descriptor)
    return bundle


DEFAULT_ROWS: dict[str, Callable[[Run], None]] = {
    "start": start,
    "rest": rest,
    **{f"signerd-{n}": partial(sign, connections=n) for n in _CONNECTIONS},
    "batch": batch,
    **{f"document-{n}": partial(document, megabytes=n) for n in _DOCUMENTS_MB},
    "restart": restart,
    "token-worker": token_worker,
    "token": token,
    "gost-worker": gost_worker,
    "wedged": wedged,
    "ring": large_ring,
    "signers": two_signers,
    **{f"keyless-{n}": partial(live_certificate, connections=n) for n in (8, 64)},
    "hmac-1-gib": hmac_file,
}
"""The rows of a run without `--only`; each of signerd's brings ssh-agent's of the same load with it."""

ROWS = DEFAULT_ROWS | {f"ssh-agent-{n}": partial(agent, connections=n) for n in _CONNECTIONS}
"""All that `--only` can name."""


def purpose(name: str) -> str:
    """The first line of what a row says about itself."""
    measure = ROWS[name]
    described = measure.func if isinstance(measure, partial) else measure
    return (described.__doc__ or "").splitlines()[0]


def selected(only: list[str]) -> list[str]:
    """The rows that names select: a row's own name, or a family's (`signerd` is `signerd-1`, `-8` and `-64`).

    Raises KeyError with the name that selects nothing.
    """
    if not only:
        return list(DEFAULT_ROWS)
    chosen = []
    for name in only:
        matching = [row for row in ROWS if row == name or row.startswith(f"{name}-")]
        if not matching:
            raise KeyError(name)
        chosen += [row for row in matching if row not in chosen]
    return chosen
