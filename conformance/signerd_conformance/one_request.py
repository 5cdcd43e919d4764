"""One request to a daemon and its answer, over its socket (docs/protocol.md)."""

import socket
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

from signerd.errors import Fault, error_from
from signerd.wire.connection import (
    FRAME_LIMIT_BOUND,
    Connection,
    ConnectionClosed,
    Rejected,
    RemoteProtocolError,
    Role,
    Wait,
)
from signerd.wire.frames import ENCODER
from signerd.wire.messages import VERSION, Error, Hello, Request, Response
from signerd.wire.methods import decode_result
from signerd_conformance import __version__

__all__ = ["ask"]

_READ_BYTES: Final = 256 * 1024
T = TypeVar("T")


def ask(path: Path, method: str, params: msgspec.Struct, seconds: float) -> msgspec.Struct:
    """Ask once and return the result, which is wanted whole within the frame. Raises what the daemon answered; Fault
    ``internal`` where it ends the connection or breaks the protocol, ``request.deadline`` where it says nothing."""
    connection = Connection(Role.CLIENT, limit=FRAME_LIMIT_BOUND)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(seconds)
        try:
            link.connect(str(path))
            hello = Hello((VERSION,), f"signerd-conformance/{__version__}", FRAME_LIMIT_BOUND)
            link.sendall(connection.send(hello))
            _next(link, connection, Hello)
            request = Request(1, method, Raw(ENCODER.encode(params)), int(seconds * 1000))
            link.sendall(connection.send(request))
            return decode_result(method, _next(link, connection, Response).result)
        except TimeoutError as exc:
            raise Fault("request.deadline", "no_answer", "the daemon did not answer in time") from exc
        except (OSError, RemoteProtocolError) as exc:
            raise Fault("internal", "protocol", "the daemon broke the connection", operator=str(exc)) from exc


def _next(link: socket.socket, connection: Connection, kind: type[T]) -> T:
    """Return the next message of that kind; another that is no error is passed over."""
    while True:
        event = connection.next_event()
        if isinstance(event, Wait):
            connection.receive_data(link.recv(_READ_BYTES))
        elif isinstance(event, Error):
            details = {} if event.details is UNSET else event.details
            raise error_from(event.code, str(details.get("reason", "unknown")), event.message)
        elif isinstance(event, ConnectionClosed | Rejected):
            raise Fault("internal", "protocol", "the daemon broke the connection")
        elif isinstance(event, kind):
            return event
