"""Sealer and key worker at a socket path prove to each other that they hold one credential, which is never sent (T1).

::

    sealer (client)                              worker (server)
    hello {nonce}                          ──►
                                           ◄──   hello {nonce}
    auth {HMAC-SHA256(credential, "sealer" ‖ client nonce ‖ server nonce)}  ──►
                                           ◄──   auth {HMAC-SHA256(credential, "worker" ‖ client nonce ‖ server nonce)}

Both nonces are exactly :data:`NONCE_BYTES` long, so that no other split of the same bytes has the same MAC; the role in
front makes a MAC that is sent back worthless. Nothing else is served or asked before. No I/O: nonces are handed in.
"""

import hmac
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from signerd.errors import Refusal
from signerd.wire.decoding import BROKEN
from signerd.wire.messages import Error, Hello

__all__ = ["CREDENTIAL_BYTES", "MAC_BYTES", "NONCE_BYTES", "Auth", "Proof", "WorkerRole", "auth_mac", "told"]

NONCE_BYTES: Final = 32
MAC_BYTES: Final = 32
CREDENTIAL_BYTES: Final = (32, 4096)
"""Fewest and most bytes of a credential: whoever has listened once may guess at it for as long as he likes."""

WorkerRole = Literal["sealer", "worker"]
_OTHER: Final[dict[WorkerRole, WorkerRole]] = {"sealer": "worker", "worker": "sealer"}


class Auth(msgspec.Struct, frozen=True, tag_field="type", tag="auth"):
    """Second message of each side on a socket path, and on no other link: the client's, then the server's."""

    mac: Annotated[bytes, Meta(min_length=MAC_BYTES, max_length=MAC_BYTES)]
    """HMAC-SHA256, its key the credential, over the sender's role, `sealer` or `worker`, the client's nonce and the
    server's, one after the other"""


_decode: Final = msgspec.msgpack.Decoder(Auth | Error).decode


def auth_mac(credential: bytes, role: WorkerRole, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """Return the MAC that ``role`` sends."""
    return hmac.digest(credential, role.encode("ascii") + client_nonce + server_nonce, "sha256")


class Proof:
    """One side's half of the handshake of one connection: :meth:`meet` the peer's hello, then :meth:`check` its auth.

    ``nonce`` goes into the own hello; it is fresh random bytes of this connection alone.
    """

    __slots__ = ("_credential", "_peer_nonce", "_role", "nonce")

    def __init__(self, credential: bytes, role: WorkerRole, nonce: bytes) -> None:
        least, most = CREDENTIAL_BYTES
        if not least <= len(credential) <= most or len(nonce) != NONCE_BYTES:
            raise ValueError("a credential or nonce of another length")
        self._credential = credential
        self._role: WorkerRole = role
        self.nonce = nonce
        self._peer_nonce = b""

    @property
    def met(self) -> bool:
        """Whether the peer's hello has come: its next message must be its auth."""
        return bool(self._peer_nonce)

    def meet(self, hello: Hello) -> None:
        """Take the peer's nonce; Refusal ``request.malformed``, reason ``nonce``, where none of 32 bytes came."""
        if hello.nonce is msgspec.UNSET or len(hello.nonce) != NONCE_BYTES:
            raise Refusal("request.malformed", "nonce", f"a hello at a socket path has a nonce of {NONCE_BYTES} bytes")
        self._peer_nonce = hello.nonce

    def auth(self) -> Auth:
        """Return the own proof; not before :meth:`meet`."""
        return Auth(self._mac(self._role))

    def check(self, frame: memoryview | bytes) -> None:
        """Take the peer's auth, in constant time whatever it is.

        Refusal ``request.malformed``, reason ``auth_expected``, for any other message, ``key.forbidden``, reason
        ``wrong_mac``, for a MAC that the credential does not make, and reason ``peer_refused`` where the peer says an
        error instead.
        """
        try:
            message = _decode(frame)
        except BROKEN:
            raise Refusal("request.malformed", "auth_expected", "the second message must be auth") from None
        if isinstance(message, Error):
            raise Refusal(
                "key.forbidden",
                "peer_refused",
                "the other side refused",
                operator=f"the other side refused: {told(message)}",
            )
        if not hmac.compare_digest(message.mac, self._mac(_OTHER[self._role])):
            raise Refusal("key.forbidden", "wrong_mac", "the credential is not proved")

    def _mac(self, role: WorkerRole) -> bytes:
        own_first = self._role == "sealer"
        client, server = (self.nonce, self._peer_nonce) if own_first else (self._peer_nonce, self.nonce)
        return auth_mac(self._credential, role, client, server)


def told(error: Error) -> str:
    """Return code and reason of a peer's error, fit for a log: short, ASCII, without control characters."""
    reason = "" if error.details is msgspec.UNSET else error.details.get("reason", "")
    return f"{error.code[:64]!a} ({str(reason)[:64]!a})"
