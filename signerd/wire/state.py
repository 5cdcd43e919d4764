"""Who may say what, and when.

Two rules of this file: everything about state is in the tables below, and nothing here knows which side we
are. :class:`~signerd.wire.connection.Connection` asks the same tables for what it sends and for what it
receives; a step that they do not have is our mistake in the first case and the peer's in the second.

A client says hello, the server answers it, then the client asks and the server answers, in any order. The
client is not OPEN before the server's hello, since only that hello settles version and limits.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

__all__ = ["JOINT", "STEPS", "Kind", "ProtocolState", "Role", "State"]


class Role(Enum):
    """A side of the connection."""

    # Members are single objects: hashing them as such is what Enum does by name, in a tenth of the time.
    __hash__ = object.__hash__

    CLIENT = auto()
    SERVER = auto()

    @property
    def other(self) -> "Role":
        """The side at the other end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


class Kind(Enum):
    """What a side can do, as far as state is concerned."""

    __hash__ = object.__hash__

    HELLO = auto()
    REQUEST = auto()
    CANCEL = auto()
    ANSWER = auto()
    """a response, or an error with an id"""
    NOTICE = auto()
    """an error without an id: it speaks of the connection"""
    GOAWAY = auto()
    UNKNOWN = auto()
    """a message of a type that this version does not have"""
    EOF = auto()


class State(Enum):
    """Where a side stands."""

    __hash__ = object.__hash__

    GREETING = auto()
    """its hello is what it says next"""
    WAITING = auto()
    """the other side's hello comes first"""
    OPEN = auto()
    DRAINING = auto()
    """it said goaway: it answers what it has"""
    LAST_WORD = auto()
    """the other side broke the protocol: it may say why, and closes"""
    CLOSED = auto()
    FAILED = auto()
    """it broke the protocol: nothing that it says counts any more"""


STEPS: Final[Mapping[Role, Mapping[State, Mapping[Kind, State]]]] = MappingProxyType(
    {
        Role.CLIENT: {
            State.GREETING: {Kind.HELLO: State.WAITING, Kind.EOF: State.CLOSED},
            State.WAITING: {Kind.EOF: State.CLOSED},
            State.OPEN: {
                # Also while the server drains: request and goaway may cross, and such a request is answered.
                Kind.REQUEST: State.OPEN,
                Kind.CANCEL: State.OPEN,
                Kind.UNKNOWN: State.OPEN,
                Kind.EOF: State.CLOSED,
            },
            State.CLOSED: {Kind.EOF: State.CLOSED},
            State.FAILED: {},
        },
        Role.SERVER: {
            # A notice before hello refuses the connection: too many, a peer that may not, no hello in time.
            State.WAITING: {Kind.NOTICE: State.CLOSED, Kind.EOF: State.CLOSED},
            State.GREETING: {Kind.HELLO: State.OPEN, Kind.NOTICE: State.CLOSED, Kind.EOF: State.CLOSED},
            State.OPEN: {
                Kind.ANSWER: State.OPEN,
                Kind.NOTICE: State.OPEN,
                Kind.UNKNOWN: State.OPEN,
                Kind.GOAWAY: State.DRAINING,
                Kind.EOF: State.CLOSED,
            },
            State.DRAINING: {
                Kind.ANSWER: State.DRAINING,
                Kind.NOTICE: State.DRAINING,
                Kind.UNKNOWN: State.DRAINING,
                Kind.EOF: State.CLOSED,
            },
            State.LAST_WORD: {Kind.NOTICE: State.CLOSED, Kind.EOF: State.CLOSED},
            State.CLOSED: {Kind.EOF: State.CLOSED},
            State.FAILED: {},
        },
    }
)
"""Side, its state, what it does: its next state. What is not here is not allowed."""

_CLIENT_ALIVE: Final = (State.GREETING, State.WAITING, State.OPEN)
_SERVER_ALIVE: Final = (*_CLIENT_ALIVE, State.DRAINING)

JOINT: Final[Mapping[tuple[State, State], tuple[State, State]]] = MappingProxyType(
    {
        (State.WAITING, State.WAITING): (State.WAITING, State.GREETING),
        (State.WAITING, State.OPEN): (State.OPEN, State.OPEN),
        # A client that hangs up cancels what it asked for, so there is nobody to answer.
        **{(State.CLOSED, server): (State.CLOSED, State.CLOSED) for server in _SERVER_ALIVE},
        **{(State.FAILED, server): (State.FAILED, State.LAST_WORD) for server in _SERVER_ALIVE},
        **{(client, State.CLOSED): (State.CLOSED, State.CLOSED) for client in _CLIENT_ALIVE},
        **{(client, State.FAILED): (State.CLOSED, State.FAILED) for client in _CLIENT_ALIVE},
    }
)
"""States of client and server that, reached together, become two others at once."""


class ProtocolState:
    """The states of both sides."""

    __slots__ = ("_states", "stopped")

    def __init__(self) -> None:
        self._states = {Role.CLIENT: State.GREETING, Role.SERVER: State.WAITING}
        self.stopped = True
        """False while both sides talk: the one question that a busy connection asks each time"""

    def __getitem__(self, role: Role) -> State:
        return self._states[role]

    def allows(self, role: Role, kind: Kind) -> bool:
        """Whether ``role`` may do ``kind`` now."""
        return kind in STEPS[role][self._states[role]]

    def step(self, role: Role, kind: Kind) -> bool:
        """Do what ``role`` did; False, and nothing changes, where the table does not have it."""
        before = self._states[role]
        after = STEPS[role][before].get(kind)
        if after is None:
            return False
        if after is not before:
            self._states[role] = after
            self._join()
        return True

    def fail(self, role: Role) -> None:
        """``role`` broke the protocol."""
        self._states[role] = State.FAILED
        self._join()

    def _join(self) -> None:
        pair = (self._states[Role.CLIENT], self._states[Role.SERVER])
        client, server = JOINT.get(pair, pair)
        self._states[Role.CLIENT], self._states[Role.SERVER] = client, server
        self.stopped = client is not State.OPEN or server not in (State.OPEN, State.DRAINING)
