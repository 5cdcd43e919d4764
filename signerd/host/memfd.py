"""Sealed memfds: how large values cross a process, and how one that came from elsewhere is checked (T19).

A memfd that is sealed against write, grow and shrink is the one kind of descriptor whose bytes cannot change
between the check and the use, and whose reading can neither block nor fault (memfd_create(2), fcntl(2)
F_ADD_SEALS).
"""

import contextlib
import fcntl
import os
from typing import Final

from signerd.errors import Refusal

__all__ = ["SEALS", "check_sealed", "read_sealed", "seal_memfd", "sealed_memfd"]

SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
"""What ours carry; of others' the first three are asked for, as the last one protects nobody but its
maker."""
_NEEDED: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


def sealed_memfd(name: str, *parts: bytes | memoryview) -> int:
    """Return a new sealed memfd that holds ``parts``, at offset 0; the caller closes it. ``name`` is for
    /proc only."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
        seal_memfd(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def seal_memfd(fd: int) -> None:
    """Seal a memfd of ours against write, grow, shrink and further seals, its offset back at 0."""
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)


def check_sealed(fd: int, size: int, most: int) -> None:
    """Refuse what is not a memfd sealed against write, grow and shrink of exactly ``size`` bytes.

    Raises ``request.malformed`` with reason ``not_sealed`` (also for a FIFO, a device, a file, an O_PATH
    descriptor) or ``size_mismatch``, and ``request.too_large`` above ``most``.
    """
    seals = 0
    with contextlib.suppress(OSError):  # EINVAL, EBADF: not a memfd
        # Opened again through /proc, a sealed memfd can be one that cannot be read.
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    if seals & _NEEDED != _NEEDED:
        raise Refusal("request.malformed", "not_sealed", "a descriptor is not a sealed memfd")
    if os.fstat(fd).st_size != size:
        raise Refusal(
            "request.malformed", "size_mismatch", "a descriptor does not have the size that was named"
        )
    if size > most:
        raise Refusal("request.too_large", "descriptor_size", f"a descriptor holds more than {most} bytes")


def read_sealed(fd: int, size: int, most: int) -> bytes:
    """Return the ``size`` bytes of a sealed memfd, whatever its offset; raises as :func:`check_sealed`."""
    check_sealed(fd, size, most)
    if not size:
        return b""
    data = os.pread(fd, size, 0)
    if len(data) == size:
        return data
    # One read returns at most 2^31 - 4096 bytes, and a signal may cut it short.
    parts = [data]
    at = len(data)
    while at < size:
        parts.append(os.pread(fd, size - at, at))
        at += len(parts[-1])
    return b"".join(parts)
