"""What a connection tells its caller besides the peer's messages, and the two ways to break the protocol."""

from enum import Enum, auto
from typing import Final

import msgspec

from signerd.errors import Fault, Refusal
from signerd.wire.messages import Error, Message, error_from_exception

__all__ = [
    "NEED_DATA",
    "PAUSED",
    "ConnectionClosed",
    "Event",
    "LocalProtocolError",
    "Rejected",
    "RemoteProtocolError",
    "Wait",
    "broken",
]


class Wait(Enum):
    """Why there is no event."""

    NEED_DATA = auto()
    """feed more"""
    PAUSED = auto()
    """send the hello that is due first; do not read meanwhile"""


NEED_DATA: Final = Wait.NEED_DATA
PAUSED: Final = Wait.PAUSED


class RemoteProtocolError(Refusal):
    """The peer broke the protocol: the connection is over. A server's last word to it is ``error``."""

    @property
    def error(self) -> Error:
        """The message to send before closing."""
        return error_from_exception(self)


class LocalProtocolError(Fault):
    """We were about to break the protocol: a defect of the caller; nothing was changed or sent."""

    def __init__(self, operator: str) -> None:
        super().__init__("internal", "local_protocol", "the signer failed", operator=operator)


class Rejected(msgspec.Struct, frozen=True):
    """A frame that is refused while the connection stays; a server sends ``error``, a client drops it."""

    error: Error


class ConnectionClosed(msgspec.Struct, frozen=True):
    """The peer closed, or shut down its writing half: nothing more comes, and nothing is to be answered."""


Event = Message | Rejected | ConnectionClosed


def broken(reason: str, field: str = "") -> RemoteProtocolError:
    """A breach of framing, encoding or order: ``request.malformed`` with its reason."""
    public = "the message breaks the protocol"
    return RemoteProtocolError(
        "request.malformed", reason, public, details={"field": field} if field else None
    )
