"""Descriptors that callers hand over: which may be used at all, and hashing what they hold (T19)."""

import ctypes
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import UNSET

from signerd.errors import Refusal
from signerd.host.memfd import check_sealed
from signerd.wire.methods import Descriptor, HmacCompute, HmacVerify, SignDsse, SignPayload, VerifyBundle

__all__ = ["READ_BYTES", "check_claims", "check_files", "hash_file"]

READ_BYTES: Final = 1024 * 1024
_statx: Final = ctypes.CDLL(None, use_errno=True).statx
_AT_EMPTY_PATH: Final = 0x1000
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_TYPE_AND_SIZE: Final = 0x201
_STATX: Final = struct.Struct("28xH10xQ208x")
"""``struct statx`` of statx(2): ``stx_mode`` and ``stx_size``."""


Claiming = SignDsse | SignPayload | VerifyBundle | HmacCompute | HmacVerify
"""What may name descriptors."""


def check_claims(orders: Iterable[Claiming], fds: tuple[int, ...], payload_bytes: int) -> None:
    """Refuse unless each descriptor of the frame is named exactly once, and is of the kind that its place asks for.

    A document or bundle is a memfd sealed against write, grow and shrink; a subject or a MAC's data may be a regular
    file too. FIFOs, devices, sockets, O_PATH descriptors, a size that lies, a surplus or missing descriptor:
    ``request.malformed``. Nothing is read here.
    """
    named: set[int] = set()
    for order in orders:
        for number, size, sealed in _claims(order):
            if not 0 <= number < len(fds) or number in named:
                raise Refusal(
                    "request.malformed",
                    "descriptor_index",
                    "a descriptor is named that is not there, or twice",
                )
            named.add(number)
            if sealed:
                check_sealed(fds[number], size, payload_bytes)
            else:
                _check_file(fds[number], size)
    if len(named) != len(fds):
        raise Refusal("request.malformed", "descriptor_surplus", "a descriptor came that the request does not name")


def _never() -> bool:
    return False


def hash_file(fd: int, size: int, stopped: Callable[[], bool] = _never) -> str:
    """Return the SHA-256 of ``size`` bytes of a regular file or memfd, read in one pass from its start.

    Refuses (``request.malformed``, ``size_mismatch``) a file that is shorter or longer by the time it is read. To be
    called off the loop: a file may lie on a disk that hangs. Ends as soon as ``stopped`` says that nobody waits any
    more: a sparse file of some terabytes costs its owner nothing.
    """
    digest = hashlib.sha256()
    at = 0
    while at < size and not stopped():
        data = os.pread(fd, min(READ_BYTES, size - at), at)
        if not data:
            break
        digest.update(data)
        at += len(data)
    if at != size or os.fstat(fd).st_size != size:
        raise _size_mismatch()
    return digest.hexdigest()


def check_files(files: Iterable[tuple[int, int]], stopped: Callable[[], bool] = _never) -> list[str]:
    """Return the SHA-256 of each (descriptor, size), in order; once ``stopped``, refuses as for a file cut off."""
    return [hash_file(fd, size, stopped) for fd, size in files]


def _claims(order: Claiming) -> Iterator[tuple[int, int, bool]]:
    """Yield (index, size, whether it must be sealed) for each descriptor that the order names."""
    if isinstance(order, HmacCompute | HmacVerify):
        if isinstance(order.data, Descriptor):
            yield order.data.fd, order.data.size, False
        return
    if isinstance(order, VerifyBundle):
        if isinstance(order.bundle, Descriptor):
            yield order.bundle.fd, order.bundle.size, True
        return
    if isinstance(order.document, Descriptor):
        yield order.document.fd, order.document.size, True
    for subject in () if order.subject is UNSET else order.subject:
        if subject.fd is not UNSET and subject.size is not UNSET:
            yield subject.fd, subject.size, False


def _check_file(fd: int, size: int) -> None:
    try:
        mode, found = _known_of(fd)
        readable = _is_readable(fd)
    except OSError as exc:
        raise Refusal("request.malformed", "descriptor_kind", "a descriptor cannot be read") from exc
    if not stat.S_ISREG(mode) or not readable:
        raise Refusal("request.malformed", "descriptor_kind", "a descriptor is not a regular file")
    if found != size:
        raise _size_mismatch()


def _known_of(fd: int) -> tuple[int, int]:
    """Return mode and size as the kernel has them by now: fstat(2) would ask the server of a FUSE or NFS file, which
    may never answer, and this is the loop."""
    known = ctypes.create_string_buffer(_STATX.size)
    if _statx(fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_TYPE_AND_SIZE, known) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    mode, size = _STATX.unpack(known.raw)
    return int(mode), int(size)


def _is_readable(fd: int) -> bool:
    """Return whether reads can work: O_PATH opens anything, and only its flags tell."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return not flags & os.O_PATH and flags & os.O_ACCMODE != os.O_WRONLY


def _size_mismatch() -> Refusal:
    return Refusal("request.malformed", "size_mismatch", "a descriptor does not have the size that was named")
