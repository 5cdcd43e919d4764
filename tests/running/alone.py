"""Run a server in a network of its own: `python -P alone.py PORT COMMAND…`, where COMMAND listens on 127.0.0.1:PORT.

In there it does; out here this process listens on that port and passes each connection on, and nobody meets what else
the command listens on. Where the kernel gives us no network, the command runs as it would have without this.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Sequence

__all__ = ["main"]

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def _into_own_network() -> bool:
    """Leave the machine's network: as root, or as root of a new user namespace, which is nobody outside it."""
    libc = ctypes.CDLL(None)
    if libc.unshare(CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    # New credentials have cleared the death signal that we were started with.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return True


def _raise_loopback() -> None:
    """A new network's loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _relay(outer: socket.socket, port: int) -> None:
    with outer:
        try:
            inner = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return  # the server is not there: the caller sees a closed connection
        with inner:
            back = threading.Thread(target=_copy, args=(inner, outer), daemon=True)
            back.start()
            _copy(outer, inner)
            back.join()


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        outer = listener.accept()[0]
        threading.Thread(target=_relay, args=(outer, port), daemon=True).start()


def main(port: int, command: Sequence[str]) -> int:
    """Start the command and pass connections on until it ends; a SIGTERM is handed to it."""
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    if not _into_own_network():
        listener.close()
        os.execv(command[0], list(command))  # noqa: S606 -- no shell is meant
    _raise_loopback()
    process = subprocess.Popen(command)

    def end(_number: int, _frame: types.FrameType | None) -> None:
        process.terminate()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
