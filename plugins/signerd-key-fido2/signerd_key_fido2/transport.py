"""Authenticators and the ways to them: a USB device of the kernel's hidraw, or a Unix socket that carries the same.

What travels is CTAPHID (CTAP 2.1, section 11.2): reports of 64 bytes. A socket (``unix:/path``, SOCK_SEQPACKET, one
report a packet) is how an authenticator gets to a host that has none plugged in: one forwarded from another machine
or into a virtual one, or one of software. Whoever answers there learns the PIN if he listens well, so the socket and
its listener must belong to root or to the user of this worker, and be closed to all others.

Reading waits no longer than a live authenticator may be silent, nor past the end that was set.
"""

import errno
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fido2.ctap2.base import Ctap2
from fido2.hid import CtapHidDevice, get_descriptor, list_descriptors
from fido2.hid.base import CtapHidConnection, HidDescriptor

from signerd_key_fido2.failures import PROTOCOL, fault, translated, unavailable
from signerd_key_fido2.settings import ANY, SOCKET

__all__ = ["REPORT", "SILENCE_S", "Reports", "authenticator", "places"]

REPORT: Final = 64
"""Bytes of a report of a full-speed USB device, and of a packet on a socket."""
SILENCE_S: Final = 5.0
"""While it works, an authenticator says every 100 ms that it does (CTAP 2.1, section 11.2.9.1.10)."""
_UCRED: Final = struct.Struct("3i")


class Reports(CtapHidConnection):
    """Reports over a descriptor, which it owns. ``lead`` stands before each that is written; nothing is read after
    ``until``, on the monotonic clock."""

    def __init__(self, fd: int, lead: bytes, size: int, until: float) -> None:
        self._fd = fd
        self._lead = lead
        self._size = size
        self._until = until

    def write_packet(self, data: bytes) -> None:
        """Write a report, whole; OSError."""
        self._wait(select.POLLOUT)
        if os.write(self._fd, self._lead + data) != len(self._lead) + len(data):
            raise OSError(errno.EIO, "a report was written in part")

    def read_packet(self) -> bytes:
        """Return the next report; OSError where there is none in time, or a cut one."""
        self._wait(select.POLLIN)
        report = os.read(self._fd, self._size)
        if len(report) != self._size:
            raise OSError(errno.EPIPE, "the authenticator has gone")
        return report

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def _wait(self, event: int) -> None:
        left = min(self._until - time.monotonic(), SILENCE_S)
        poll = select.poll()
        poll.register(self._fd, event)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "the authenticator is silent")


def places(device: str) -> list[str]:
    """Return where authenticators may be: what was named, or every hidraw device that says to be one."""
    return [device] if device != ANY else sorted(str(found.path) for found in list_descriptors())  # type: ignore[no-untyped-call]


@contextmanager
def authenticator(place: str, until: float) -> Iterator[Ctap2]:
    """Open the authenticator at ``place`` and close it in the end.

    ``key.backend_unavailable``: ``device_absent``, ``device_lost``. ``key.backend_fault``: ``device_kind`` (no
    authenticator, or one that knows U2F alone), ``device_owner``, ``device_mode``, ``device_protocol``.
    """
    descriptor, connection = _socket(place, until) if place.startswith(SOCKET) else _hidraw(place, until)
    try:
        try:
            device = Ctap2(CtapHidDevice(descriptor, connection))
        except (OSError, *PROTOCOL) as exc:
            raise translated(exc, f"opening {place}") from exc
        if not any(str(version).startswith("FIDO_2_") for version in device.info.versions):
            raise fault("device_kind", f"{place} speaks no CTAP2")
        yield device
    finally:
        connection.close()


def _hidraw(path: str, until: float) -> tuple[HidDescriptor, Reports]:
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):
            raise fault("device_kind", f"{path} is no device")
        descriptor: HidDescriptor = get_descriptor(path)  # type: ignore[no-untyped-call]
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise unavailable("device_absent", f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise fault("device_kind", f"{path}: {exc}") from exc
    # hidraw(4): the number of the report comes first, 0 where a device numbers none.
    return descriptor, Reports(fd, b"\0", descriptor.report_size_in, until)


def _socket(place: str, until: float) -> tuple[HidDescriptor, Reports]:
    path = place.removeprefix(SOCKET)
    try:
        found = os.lstat(path)
    except OSError as exc:
        raise unavailable("device_absent", f"{path}: {exc.strerror}") from exc
    trusted = {0, os.geteuid()}
    if not stat.S_ISSOCK(found.st_mode):
        raise fault("device_kind", f"{path} is no socket")
    if found.st_uid not in trusted:
        raise fault("device_owner", f"{path} must belong to root or to the user that the key worker runs as")
    if found.st_mode & 0o077:
        raise fault("device_mode", f"{path} must be closed to group and others (mode 0600)")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(SILENCE_S)
        connection.connect(path)
        connection.settimeout(None)
        _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    except OSError as exc:
        connection.close()
        raise unavailable("device_absent", f"{path}: {exc.strerror or exc}") from exc
    if uid not in trusted:
        connection.close()
        raise fault("device_owner", f"uid {uid} listens at {path}")
    descriptor = HidDescriptor(path, 0, 0, REPORT, REPORT, None, None)
    return descriptor, Reports(connection.detach(), b"", REPORT, until)
