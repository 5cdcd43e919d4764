"""What both mains do around their work: hardening, settings, signals, and waiting for a link without a loop.

A worker serves one peer and has nothing else to wait for: an event loop would only cost start-up time and
memory.
"""

import argparse
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import msgspec

from signerd.host.hardening import harden
from signerd.host.link import Frame, Link, LinkClosed

__all__ = ["begin", "fail", "flush", "frames", "settings"]

SETTINGS_BYTES: Final = 4 * 1024 * 1024
"""Settings are a table of a configuration file; more than this is a mistake."""

T = TypeVar("T", bound=msgspec.Struct)


def begin(program: str, settings_type: type[T]) -> tuple[Link, T]:
    """Harden this process, take its settings from standard input and its link from ``--fd``.

    Ends the process with status 2 where either is not what the parent hands over.
    """
    harden(die_with_parent=True)
    # What a terminal or a service manager sends to a whole group: a worker ends when its link does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description="Started by signerd itself.")
    parser.add_argument("--fd", type=int, required=True, help="a connected Unix stream socket")
    fd = parser.parse_args().fd
    try:
        connection = socket.socket(fileno=fd)
        taken = settings(settings_type)
    except (OSError, ValueError, msgspec.MsgspecError) as exc:
        fail(program, f"cannot start ({type(exc).__name__}: {exc})")
    return Link(connection), taken


def settings(settings_type: type[T], path: Path | None = None) -> T:
    """Return the settings, JSON of at most 4 MiB, from a file or from standard input.

    Raises OSError, ValueError or msgspec.MsgspecError for anything else.
    """
    raw = _take_settings() if path is None else _bounded(path)
    return msgspec.json.decode(raw, type=settings_type)


def fail(program: str, sentence: str) -> NoReturn:
    """Tell the operator why this process ends, on standard error, and end it with status 2."""
    sys.stderr.write(f"{program}: {sentence}\n")
    raise SystemExit(2)


def frames(link: Link, beside: int | None = None) -> Iterator[list[tuple[Frame, tuple[int, ...]]]]:
    """Yield what has arrived, as often as something does, until the peer closes its end; nothing whenever the
    descriptor ``beside`` is readable."""
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    if beside is not None:
        poll.register(beside, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        arrived: list[tuple[Frame, tuple[int, ...]]] = []
        if link.fileno() in ready:
            try:
                arrived = link.read()
            except LinkClosed:
                return
        if arrived or beside in ready:
            yield arrived


def flush(link: Link) -> bool:
    """Send all that is queued, waiting where the peer is slow; whether there still is a peer."""
    try:
        while not link.flush():
            poll = select.poll()
            poll.register(link.fileno(), select.POLLOUT)
            poll.poll()
    except LinkClosed:
        return False
    return True


def _take_settings() -> bytes:
    """Read standard input to its end and put /dev/null in its place: what runs later finds no settings
    there."""
    parts: list[bytes] = []
    size = 0
    while part := os.read(0, 65536):
        parts.append(part)
        size += len(part)
        _check_size(size)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    return b"".join(parts)


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(SETTINGS_BYTES + 1)
    _check_size(len(raw))
    return raw


def _check_size(size: int) -> None:
    if size > SETTINGS_BYTES:
        raise ValueError("the settings are longer than 4 MiB")
