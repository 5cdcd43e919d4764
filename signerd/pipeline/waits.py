"""What a story waits for.

The pipeline holds no trio primitive. A stage that must wait yields one of these; whoever steps the coroutine
(:mod:`signerd.daemon.story`) brings the answer by ``send``, or throws a deadline, a cancel or a hang-up into
it. So a request need not be a task: with warm caches the story yields once, in ``seal``.
"""

import types
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass

from signerd.wire.links import Sealed, SealItem
from signerd.wire.mac_links import Maced, MacItem
from signerd.wire.worker_calls import CheckDocument, DocumentChecked

__all__ = [
    "DocumentWait",
    "HashWait",
    "MacWait",
    "ProviderWait",
    "SealWait",
    "Wait",
    "check_document",
    "hash_files",
    "maced",
    "provider",
    "sealed",
]


@dataclass(frozen=True, slots=True)
class SealWait:
    """For the sealer: the answer is a ``Sealed`` and its descriptors. ``fd`` is a large payload's memfd."""

    item: SealItem
    fd: int | None


@dataclass(frozen=True, slots=True)
class MacWait:
    """For the sealer: the answer is a ``Maced``. ``fd`` is the caller's descriptor of the data."""

    item: MacItem
    fd: int | None


@dataclass(frozen=True, slots=True)
class ProviderWait:
    """For a provider that could not answer at once: the awaitable is run in a trio task.

    Where there is a ``late``, a story that is cut short leaves the task to its end, and ``late`` takes the answer.
    """

    awaitable: Awaitable[object]
    late: Callable[[object], None] | None = None


@dataclass(frozen=True, slots=True)
class DocumentWait:
    """For the document worker: the answer is a ``DocumentChecked`` without error."""

    call: CheckDocument
    fd: int | None


@dataclass(frozen=True, slots=True)
class HashWait:
    """For the SHA-256 of files, read in one pass off the loop: the answer is a list of lowercase hex."""

    files: tuple[tuple[int, int], ...]


Wait = SealWait | MacWait | ProviderWait | DocumentWait | HashWait


@types.coroutine
def sealed(
    item: SealItem, fd: int | None
) -> Generator[SealWait, tuple[Sealed, tuple[int, ...]], tuple[Sealed, tuple[int, ...]]]:
    """Wait for the sealer's answer to ``item``, and the descriptors that its large values are in."""
    return (yield SealWait(item, fd))


@types.coroutine
def maced(item: MacItem, fd: int | None) -> Generator[MacWait, Maced, Maced]:
    """Wait for the sealer's answer to ``item``."""
    return (yield MacWait(item, fd))


@types.coroutine
def provider(
    awaitable: Awaitable[object], late: Callable[[object], None] | None = None
) -> Generator[ProviderWait, object, object]:
    """Wait for what a provider promised; ``late`` takes what comes after the story was cut short."""
    return (yield ProviderWait(awaitable, late))


@types.coroutine
def check_document(call: CheckDocument, fd: int | None) -> Generator[DocumentWait, DocumentChecked, DocumentChecked]:
    """Wait for the document worker; ``fd`` is the sealed memfd that holds the predicate."""
    return (yield DocumentWait(call, fd))


@types.coroutine
def hash_files(files: Sequence[tuple[int, int]]) -> Generator[HashWait, list[str], list[str]]:
    """Wait for the SHA-256 of each (descriptor, size)."""
    return (yield HashWait(tuple(files)))
