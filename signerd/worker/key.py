"""The key worker: the one process that holds signing keys and runs a key backend.

``python -m signerd.worker.key --fd N`` speaks the worker protocol as server on descriptor N; its settings,
the JSON of :class:`KeyWorkerSettings`, are its standard input. It draws no policy, keeps no record and
repeats no call: the sealer does all that. It ends when its link does, and dies with its parent.

``python -m signerd.worker.key --socket PATH --credential FILE`` is a service of its own, which the sealer connects to:
see :mod:`signerd.worker.listening`.
"""

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import msgspec

import signerd
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.certificate import NONE
from signerd.host.credential import read_credential
from signerd.host.hardening import harden
from signerd.host.link import Frame
from signerd.host.load import LoadError, PluginEntry, load_key_backend
from signerd.wire.decoding import BROKEN
from signerd.wire.frames import encode_frame
from signerd.wire.messages import (
    VERSION,
    Cancel,
    Hello,
    Limits,
    Message,
    Request,
    Response,
    error_from_exception,
)
from signerd.wire.worker_auth import NONCE_BYTES, Proof
from signerd.wire.worker_calls import LINK_FRAME_BYTES
from signerd.worker import listening, process
from signerd.worker.aside import Aside
from signerd.worker.calls import MESSAGE_BYTES, Calls

__all__ = ["KeyWorkerSettings", "Session", "main"]

PROGRAM: Final = "signerd.worker.key"
SOFTWARE: Final = f"signerd-key-worker/{signerd.__version__}"

_LIMITS: Final = Limits(
    frame_bytes=LINK_FRAME_BYTES,
    inline_bytes=LINK_FRAME_BYTES,
    payload_bytes=MESSAGE_BYTES,
    in_flight=2**16,  # most calls are answered one after the other: what waits, waits in the socket
    batch_items=2**16,
    subjects=0,
    digests=0,
    descriptors=253,
    deadline_ms=120_000,
)


class KeyWorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the sealer hands over: the scheme (entry point) of the backend, the instance's name, its own
    table."""

    scheme: str
    name: str
    settings: Mapping[str, object] = {}
    development: bool = False
    version: str | None = None
    record: str | None = None
    certificate: str = NONE
    certifiers: tuple[str, ...] = ()


class Session:
    """The server side of one link: one frame in, one frame out, in order. Nothing follows ``over``.

    Only a long MAC is answered when it is done: poll ``fileno()``, and :meth:`finished` has its answer.

    With ``proof`` the frame after the hello must be the client's auth, and ``proved`` says that it was: there is no
    call before.
    """

    def __init__(self, calls: Calls, proof: Proof | None = None) -> None:
        self._calls = calls
        self._proof = proof
        self.proved = proof is None
        self._decode = msgspec.msgpack.Decoder(Message).decode
        self._greeted = False
        self._aside = Aside()
        self.over = False

    def fileno(self) -> int:
        """Return what is readable when :meth:`finished` has something."""
        return self._aside.fileno()

    def close(self) -> None:
        """Have what is under way end; nothing is answered any more."""
        self._aside.close()

    def finished(self) -> list[bytes]:
        """Return the frames that answer calls which have taken long."""
        return [
            encode_frame(
                error_from_exception(result, number)
                if isinstance(result, SignerdError)
                else Response(number, result)
            )
            for number, result in self._aside.collect()
        ]

    def answer(self, frame: Frame, fds: tuple[int, ...]) -> bytes:
        """Return the frame that answers ``frame`` (empty for a message without answer, and where the answer comes
        later). Takes ``fds`` over.

        What is no message, no hello in the first place or none that only a client sends is answered with an
        error without id, and the session is over: nothing is answered from then on.
        """
        held = list(fds)
        try:
            return b"" if self.over else self._answer(frame, held)
        finally:
            for fd in held:
                os.close(fd)

    def _answer(self, frame: Frame, fds: list[int]) -> bytes:
        """Answer; what is left in ``fds`` is closed."""
        if self._proof is not None and self._greeted and not self.proved:
            return self._auth(self._proof, frame)
        try:
            message = self._decode(frame)
        except BROKEN as exc:
            return self._end(
                Refusal("request.malformed", "frame", "a frame is no message", operator=str(exc))
            )
        if isinstance(message, Request) and self._greeted:
            return self._request(message, fds)
        if isinstance(message, Hello) and not self._greeted:
            return self._hello(message)
        if self._greeted and not isinstance(message, Hello | Response):
            # For all but a long MAC a cancel comes too late; goaway and error are news only.
            if isinstance(message, Cancel):
                self._aside.cancel(message.id)
            return b""
        return self._end(Refusal("request.malformed", "unexpected", "a message came out of its order"))

    def _hello(self, hello: Hello) -> bytes:
        if VERSION not in hello.versions:
            return self._end(
                Refusal("request.unsupported", "version", "no version of the protocol in common")
            )
        if self._proof is not None:
            try:
                self._proof.meet(hello)
            except Refusal as refusal:
                return self._end(refusal)
        self._greeted = True
        return encode_frame(
            Hello(
                versions=(VERSION,),
                software=SOFTWARE,
                version=VERSION,
                limits=_LIMITS,
                methods=self._calls.methods,
                profiles=(),
                nonce=os.urandom(NONCE_BYTES) if self._proof is None else self._proof.nonce,
            )
        )

    def _auth(self, proof: Proof, frame: Frame) -> bytes:
        try:
            proof.check(frame)
        except Refusal as refusal:
            return self._end(refusal)
        self.proved = True
        return encode_frame(proof.auth())

    def _request(self, request: Request, fds: list[int]) -> bytes:
        try:
            if request.method in self._calls.macs.methods:
                return self._mac(request, fds)
            frame = encode_frame(
                Response(request.id, self._calls.answer(request.method, request.params, tuple(fds)))
            )
            if len(frame) - 4 > LINK_FRAME_BYTES:
                raise Refusal(
                    "request.too_large", "answer_size", "the answers to this batch are longer than a frame"
                )
        except SignerdError as exc:
            return encode_frame(error_from_exception(exc, request.id))
        return frame

    def _mac(self, request: Request, fds: list[int]) -> bytes:
        if self._aside.full:
            raise Fault("key.backend_unavailable", "busy", "too many MACs are made at once")
        work, short = self._calls.macs.begin(request.method, request.params, fds)
        if short:
            return encode_frame(Response(request.id, work(lambda: False)))
        asked = request.deadline_ms if isinstance(request.deadline_ms, int) else _LIMITS.deadline_ms
        self._aside.run(request.id, work, min(asked, _LIMITS.deadline_ms) / 1000)
        return b""

    def _end(self, refusal: Refusal) -> bytes:
        self.over = True
        return encode_frame(error_from_exception(refusal))


def main() -> None:
    """Run the worker: until its link ends, or as a service."""
    if not any(argument.startswith("--fd") for argument in sys.argv[1:]):
        _serve()
    link, settings = process.begin(PROGRAM, KeyWorkerSettings)
    session = Session(_calls(settings))
    for arrived in process.frames(link, session.fileno()):
        for frame, fds in arrived:
            if answer := session.answer(frame, fds):
                link.queue(answer)
        for late in session.finished():
            link.queue(late)
        if not process.flush(link) or session.over:
            return


def _calls(settings: KeyWorkerSettings) -> Calls:
    entry = PluginEntry(
        settings.settings, settings.version, settings.record, settings.certificate, settings.certifiers
    )
    try:
        backend = load_key_backend(settings.scheme, entry, development=settings.development)
    except LoadError as exc:
        process.fail(PROGRAM, str(exc))
    return Calls(backend, settings.name)


def _serve() -> NoReturn:
    """Run as a service: whoever runs it ends it by a signal."""
    harden(die_with_parent=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever started this may have ignored them, and that is inherited (signal(7)).
        signal.signal(number, signal.SIG_DFL)
    given = _parser().parse_args()
    try:
        settings = process.settings(KeyWorkerSettings, given.settings)
        credential = read_credential(given.credential)
        calls = _calls(settings)
        listener = listening.inherited(os.environ) or listening.bind(given.socket, given.sealer_uid)
    except (OSError, ValueError, msgspec.MsgspecError, SignerdError) as exc:
        process.fail(PROGRAM, f"cannot start ({type(exc).__name__}: {exc})")

    def session() -> Session:
        return Session(calls, Proof(credential, "worker", os.urandom(NONCE_BYTES)))

    listening.Service(listener, given.sealer_uid, session).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        description="A key worker as a service of its own: the sealer connects to it.",
        epilog="With --fd N, as signerd starts it itself, it serves that descriptor alone.",
    )
    parser.add_argument(
        "--socket", metavar="PATH", default="", help="where to listen; not needed with systemd's socket activation"
    )
    parser.add_argument(
        "--credential",
        metavar="FILE",
        required=True,
        help="what the sealer and this worker share: an absolute path, or the name of a systemd credential",
    )
    parser.add_argument(
        "--sealer-uid", type=int, metavar="N", default=os.geteuid(), help="the only uid let in (default: the own)"
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="the settings, JSON; else they are read from standard input"
    )
    return parser


if __name__ == "__main__":
    main()
