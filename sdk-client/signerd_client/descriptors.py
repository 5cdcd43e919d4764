"""Values that travel as descriptors: sealed memfds to the daemon and from it (memfd_create(2), fcntl(2)
F_ADD_SEALS)."""

import fcntl
import os
from typing import Final

from signerd.errors import Fault

__all__ = ["close_all", "read_sealed", "sealed_memfd"]

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
_READ_BYTES: Final = 1 << 20


def sealed_memfd(data: bytes | memoryview) -> int:
    """Return a new memfd that holds ``data`` and is sealed against write, grow, shrink and further seals.

    The caller closes it. OSError where the machine has no memory or no descriptor left.
    """
    descriptor = os.memfd_create("signerd-client", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_sealed(descriptor: int, size: int, limit: int) -> bytes:
    """Return the ``size`` bytes of a memfd that the daemon sent; the descriptor stays open.

    Fault ``internal`` with reason ``result_descriptor`` for what is no memfd sealed against write, grow and
    shrink (a changing file could be read in two states), for a size that is another than the file's, and for
    one above ``limit`` bytes.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & _SEALS != _SEALS:
        raise Fault("internal", "result_descriptor", "the daemon sent a descriptor that is no sealed memfd")
    if size != os.fstat(descriptor).st_size or size > limit:
        raise Fault(
            "internal", "result_descriptor", "the daemon sent a descriptor of another size than it named"
        )
    parts, at = [], 0
    while at < size:
        # pread: the offset of a descriptor is shared with whoever else holds it.
        part = os.pread(descriptor, min(_READ_BYTES, size - at), at)
        if not part:
            raise Fault("internal", "result_descriptor", "the daemon sent a descriptor that ends early")
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def close_all(descriptors: tuple[int, ...] | list[int]) -> None:
    """Close every descriptor, whatever the earlier ones do."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            # It is gone, which is what was asked for.
            continue
