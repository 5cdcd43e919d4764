"""Rows of the benchmark: medians over interleaved pairs, ratios within a pair, JSON and a table."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from bench.load import Sample

__all__ = ["Report", "Row", "Unmeasured", "pair_rows", "sample_row", "table"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the result. Rates per second, latencies in µs, memory of all the peer's processes in MiB.

    `ratio` is the rate relative to ssh-agent's, the median over the pairs of one run; None: does not apply.
    `detail` holds what only some rows have: ratios of latencies, memory and CPU of each process.
    """

    name: str
    connections: int
    rate: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    failures: int = 0
    pss_mib: float | None = None
    ratio: float | None = None
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


class Unmeasured(msgspec.Struct, frozen=True):
    """A row that is not there: how to get it, or what went wrong."""

    name: str
    why: str


class Report(msgspec.Struct, frozen=True):
    """What `--json` writes."""

    rows: list[Row]
    skipped: list[Unmeasured]
    failed: list[Unmeasured]
    machine: dict[str, Any]


def sample_row(
    name: str, samples: Sequence[Sample], signatures: int = 1, pss_mib: float | None = None, **detail: object
) -> Row:
    """The medians of a peer's samples, each figure by itself; `signatures` is how many one request brings."""
    return Row(
        name=name,
        connections=samples[0].connections,
        rate=_rounded(median(s.rate for s in samples) * signatures),
        p50_us=_rounded(median(s.p50_us for s in samples)),
        p99_us=_rounded(median(s.p99_us for s in samples)),
        failures=sum(s.failures for s in samples),
        pss_mib=None if pss_mib is None else _rounded(pss_mib),
        detail={"max_us": _rounded(max(s.max_us for s in samples)), "samples": len(samples), **detail},
    )


def pair_rows(ours: Row, mine: Sequence[Sample], theirs: Sequence[Sample], signatures: int = 1) -> Row:
    """`ours` with its ratios to the peer: per pair, so that a slow second of the machine weighs on both.

    Latencies are compared only where both answer one signature a request. A pair in which
    the peer answered nothing has no ratio; with no pair left, neither has the row.
    """
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if b.requests]
    if not pairs:
        return ours
    rate = median(a.rate * signatures / b.rate for a, b in pairs)
    detail = dict(ours.detail)
    if signatures == 1:
        detail["p99_ratio"] = round(median(a.p99_us / b.p99_us for a, b in pairs), 3)
    return msgspec.structs.replace(ours, ratio=round(rate, 3), detail=detail)


def _rounded(value: float) -> float:
    return round(value, 1)


_COLUMNS = ("name", "conns", "rate/s", "p50 µs", "p99 µs", "failures", "PSS MiB", "ratio", "p99 ratio")


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, what does not apply as a dash, details of processes below."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    for row in rows:
        lines += _processes(row)
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        str(row.connections),
        _text(row.rate, 0 if (row.rate or 0) >= 100 else 2),
        _text(row.p50_us, 0),
        _text(row.p99_us, 0),
        str(row.failures),
        _text(row.pss_mib, 1),
        _text(row.ratio, 2),
        _text(row.detail.get("p99_ratio"), 2),
    )


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _processes(row: Row) -> list[str]:
    others = [f"{key} {value}" for key, value in row.detail.items() if not isinstance(value, Mapping | list)]
    lines = ["", f"{row.name}: {', '.join(others)}"] if others else ["", f"{row.name}:"]
    for process in row.detail.get("processes", []):
        figures = ", ".join(f"{key} {value}" for key, value in process.items() if key != "role")
        lines.append(f"  {process['role']}: {figures}")
    return lines if len(lines) > 2 or others else []
