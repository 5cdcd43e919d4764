"""Who comes in: by which socket, as which principal there, and how long its opener lives."""

from dataclasses import dataclass

from signerd.contracts.values import Peer, Principal
from signerd.daemon.relay import AdminRelay
from signerd.daemon.session import Session
from signerd.wire.methods import SocketName

__all__ = ["Doors", "Opener", "admin_principal"]


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is let in by which socket, and where the calls of the admin socket go.

    No uid in ``sign`` leaves it to the authenticators; none in ``admin`` lets nobody in.
    """

    sign: frozenset[int]
    admin: frozenset[int]
    relay: AdminRelay

    def let_in(self, uid: int, via: SocketName) -> bool:
        """Return whether a connection of this user by that socket is looked at further."""
        uids = self.sign if via == "sign" else self.admin
        return uid in uids or (via == "sign" and not uids)


class Opener:
    """Ends a session with the process that opened it: its number may soon be that of another, which the kernel would
    then name as the sender (T12)."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def ready(self, events: int) -> None:
        """Take note that the process has ended."""
        self._session.close()


def admin_principal(peer: Peer) -> Principal:
    """Return who is let in by the admin socket: the methods that both sockets have ask for a scope there too."""
    return Principal(f"uid:{peer.uid}", "", frozenset({"signer.audit"}), "admin.sock")
