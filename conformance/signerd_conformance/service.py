"""A worker at a socket path as the kit meets it: each connection is a new one to the same process."""

import os

from msgspec import UNSET

from signerd.errors import Refusal
from signerd.host.worker_socket import connect
from signerd.wire.frames import FrameReader, encode_frame
from signerd.wire.messages import VERSION, Error, Hello
from signerd.wire.worker_auth import NONCE_BYTES, Auth, Proof
from signerd.wire.worker_calls import LINK_FRAME_BYTES
from signerd_conformance import __version__
from signerd_conformance.worker import AtSocket, Ending, Start, Violation, Worker

__all__ = ["Service"]


class Service(Worker):
    """One connection, made as the sealer makes it; Fault where the path or who listens there is not fit."""

    def __init__(self, start: Start, place: AtSocket) -> None:
        self._start = start
        self._reader = FrameReader(LINK_FRAME_BYTES)
        self._id = 0
        connected = connect(place.path, place.credential, place.worker_uid)
        self._link = connected.socket
        self._pid = connected.pid
        self._proof = Proof(place.credential, "sealer", os.urandom(NONCE_BYTES))

    @property
    def pid(self) -> int:
        """The process that listens, by what the kernel says."""
        return self._pid

    def hello(self, versions: tuple[int, ...] = (VERSION,)) -> Hello | Error:
        """Exchange the first messages and the proofs; an Error where the worker will not talk."""
        answer = self.meet(versions)
        if isinstance(answer, Hello):
            self.prove()
            self.check()
        return answer

    def meet(self, versions: tuple[int, ...] = (VERSION,)) -> Hello | Error:
        """Exchange the hellos alone."""
        self.send(encode_frame(Hello(versions, f"signerd-conformance/{__version__}", nonce=self._proof.nonce)))
        answer = self.receive()
        if not isinstance(answer, Hello | Error):
            raise Violation(f"the first message is a {type(answer).__name__.lower()} and no hello")
        if isinstance(answer, Hello):
            try:
                self._proof.meet(answer)
            except Refusal:
                length = 0 if answer.nonce is UNSET else len(answer.nonce)
                raise Violation(f"a nonce of {length} bytes, and not of {NONCE_BYTES}") from None
        return answer

    def prove(self, mac: bytes | None = None) -> bytes:
        """Send an auth, the right one where no other is given; return what was sent."""
        sent = self._proof.auth().mac if mac is None else mac
        self.send(encode_frame(Auth(sent)))
        return sent

    def check(self) -> None:
        """Take the worker's auth; Violation where it proves nothing."""
        try:
            self._proof.check(self._frame())
        except Refusal as exc:
            raise Violation(f"no proof of the credential ({exc.reason})") from None

    def end(self, seconds: float) -> Ending:
        """Hang up; the worker goes on."""
        self._link.close()
        return Ending(0.0, 0, ())
