"""A publisher: the process that speaks to one transparency log or timestamp authority, and holds no key and no state.

``python -m signerd.worker.publisher --fd N`` speaks the worker protocol as server on descriptor N; its settings, the
JSON of :class:`PublisherSettings`, are its standard input. Calls run side by side, each under its deadline, and are
answered as they end: a log answers only with its next checkpoint, so that throughput comes from many at once. It ends
when its link does, and dies with its parent.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, TypeVar, cast

import msgspec
import trio

import signerd
from signerd.contracts.providers import Finder, TransparencyLog
from signerd.contracts.values import LogFound
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.certificate import NONE
from signerd.host.guard import Guard
from signerd.host.link import Frame, Link, LinkClosed
from signerd.host.load import LoadError, PluginEntry, load_publisher
from signerd.wire.decoding import BROKEN, decode_strict
from signerd.wire.frames import encode_frame
from signerd.wire.messages import VERSION, Hello, Limits, Message, Request, Response, error_from_exception
from signerd.wire.worker_auth import NONCE_BYTES
from signerd.wire.worker_calls import (
    LINK_FRAME_BYTES,
    MOST_FOUND,
    BatchCall,
    BatchParams,
    BatchResult,
    CallError,
    CallOutcome,
    FindParams,
    FindResult,
    SubmitParams,
    SubmitResult,
)
from signerd.worker import process

__all__ = ["PROOF_BYTES", "Publisher", "PublisherSettings", "main"]

PROGRAM: Final = "signerd.worker.publisher"
SOFTWARE: Final = f"signerd-publisher/{signerd.__version__}"
PROOF_BYTES: Final = 256 * 1024
"""The longest proof of one call: an entry with a checkpoint of a hundred witnesses is far shorter."""

_LIMITS: Final = Limits(
    frame_bytes=LINK_FRAME_BYTES,
    inline_bytes=LINK_FRAME_BYTES,
    payload_bytes=LINK_FRAME_BYTES,
    in_flight=2**16,
    batch_items=2**16,
    subjects=0,
    digests=0,
    descriptors=0,
    deadline_ms=120_000,
)
_message: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_batch: Final = msgspec.msgpack.Decoder(BatchParams)
_submit: Final = msgspec.msgpack.Decoder(SubmitParams)
_find: Final = msgspec.msgpack.Decoder(FindParams)
T = TypeVar("T")
_encode: Final = msgspec.msgpack.Encoder().encode


class PublisherSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the sealer hands over: the plugin (entry point), the publisher's name and kind, the plugin's own table, and
    how long a call may take (seconds)."""

    plugin: str
    name: str
    kind: Literal["log", "stamp"]
    call_s: float
    settings: Mapping[str, object] = {}
    development: bool = False
    version: str | None = None
    record: str | None = None
    certificate: str = NONE
    certifiers: tuple[str, ...] = ()


class Publisher:
    """The server side of the link. ``call_s`` bounds each call of ``provider``; ``name`` is for the operator."""

    def __init__(self, link: Link, provider: TransparencyLog, name: str, call_s: float) -> None:
        self._link = link
        self._provider = provider
        self._guard = Guard("publisher", name, seconds=call_s)
        self._finds = "find" in getattr(provider, "capabilities", ())
        self._greeted = False
        self._sending = trio.Lock()

    async def run(self) -> None:
        """Serve until the link ends; what is under way then is cut short."""
        async with trio.open_nursery() as nursery:
            while await self._take(nursery):
                pass
            nursery.cancel_scope.cancel()

    async def _take(self, nursery: trio.Nursery) -> bool:
        """Take what has arrived; whether more may come."""
        await trio.lowlevel.wait_readable(self._link.fileno())
        try:
            arrived = self._link.read()
        except LinkClosed:
            return False
        surplus = [fd for _, fds in arrived for fd in fds]
        for fd in surplus:
            os.close(fd)
        for frame, _ in arrived:
            if surplus or not await self._message(frame, nursery):
                return False
        return True

    async def _message(self, frame: Frame, nursery: trio.Nursery) -> bool:
        try:
            message = _message.decode(frame)
        except BROKEN as exc:
            return await self._end(Refusal("request.malformed", "frame", "a frame is no message", operator=str(exc)))
        if isinstance(message, Request) and self._greeted:
            # The frame's memory is the link's: params are decoded before the next read.
            nursery.start_soon(self._answer, message.id, message.method, bytes(message.params))
            return True
        if isinstance(message, Hello) and not self._greeted:
            return await self._hello(message)
        if self._greeted and not isinstance(message, Hello | Response):
            return True  # a cancel: the deadline ends what nobody waits for
        return await self._end(Refusal("request.malformed", "unexpected", "a message came out of its order"))

    async def _hello(self, hello: Hello) -> bool:
        if VERSION not in hello.versions:
            return await self._end(
                Refusal("request.unsupported", "version", "no version of the protocol in common")
            )
        self._greeted = True
        answer = Hello(
            versions=(VERSION,),
            software=SOFTWARE,
            version=VERSION,
            limits=_LIMITS,
            methods=("submit", "batch", "find") if self._finds else ("submit", "batch"),
            profiles=(),
            nonce=os.urandom(NONCE_BYTES),
        )
        return await self._send(encode_frame(answer))

    async def _answer(self, request_id: int, method: str, params: bytes) -> None:
        try:
            if method == "batch":
                items = decode_strict(_batch, msgspec.Raw(params), unique_keys=False).items
                outcomes: list[CallOutcome] = [_UNANSWERED] * len(items)
                async with trio.open_nursery() as nursery:
                    for place, item in enumerate(items):
                        nursery.start_soon(self._outcome, item, place, outcomes)
                result = _encode(BatchResult(tuple(outcomes)))
            else:
                result = _encode(await self._call(method, params))
            frame = encode_frame(Response(request_id, msgspec.Raw(result)))
            if len(frame) - 4 > LINK_FRAME_BYTES:
                raise Refusal("request.too_large", "answer_size", "the answers are longer than a frame")
        except SignerdError as exc:
            frame = encode_frame(error_from_exception(exc, request_id))
        await self._send(frame)

    async def _outcome(self, item: BatchCall, place: int, outcomes: list[CallOutcome]) -> None:
        try:
            done = await self._call(item.method, bytes(item.params))
            outcomes[place] = CallOutcome(ok=msgspec.Raw(_encode(done)))
        except SignerdError as exc:
            outcomes[place] = CallOutcome(error=CallError(exc.code, exc.reason, exc.public, str(exc.args[0])))

    async def _call(self, method: str, params: bytes) -> SubmitResult | FindResult:
        if method == "submit":
            wanted = decode_strict(_submit, msgspec.Raw(params))
            proof = await self._provided(
                self._provider.submit, bytes, wanted.payload_digest, wanted.signature, wanted.verifier
            )
            self._check_proofs((proof,))
            return SubmitResult(proof)
        if method == "find" and self._finds:
            sought = decode_strict(_find, msgspec.Raw(params))
            found = await self._provided(cast("Finder", self._provider).find, LogFound, sought.payload_digest)
            self._check_proofs(found.proofs)
            if len(found.proofs) > MOST_FOUND or not 0 <= found.first <= found.size:
                raise self._fault("plugin_answer", f"{len(found.proofs)} entries of {found.first} to {found.size}")
            return FindResult(found.proofs, found.first, found.size)
        raise Refusal("request.unsupported", "method", "a publisher does not serve this method")

    async def _provided(self, call: Callable[..., object], kind: type[T], *args: object) -> T:
        """Have the plugin do it; a Fault of its kind where it does not."""
        try:
            said = self._guard(call, kind, *args)
            done = said if isinstance(said, kind) else await self._guard.awaited(cast("Awaitable[object]", said), kind)
        except SignerdError as exc:
            if exc.code.startswith("transparency."):
                raise
            raise self._fault("plugin_code", f"raised {exc.code}, which is no code of a publisher") from exc
        assert isinstance(done, kind)
        return done

    def _check_proofs(self, proofs: Sequence[bytes]) -> None:
        for proof in proofs:
            if not 0 < len(proof) <= PROOF_BYTES:
                raise self._fault("plugin_answer", f"a proof of {len(proof)} bytes")

    def _fault(self, reason: str, operator: str) -> Fault:
        text = f"{self._guard.name}: {operator}"
        return Fault("transparency.unavailable", reason, "a component of the signer failed", operator=text)

    async def _send(self, frame: bytes) -> bool:
        """Send one frame whole; whether there still is a peer."""
        self._link.queue(frame)
        async with self._sending:
            try:
                while not self._link.flush():
                    await trio.lowlevel.wait_writable(self._link.fileno())
            except LinkClosed:
                return False
        return True

    async def _end(self, refusal: Refusal) -> bool:
        await self._send(encode_frame(error_from_exception(refusal)))
        return False


_UNANSWERED: Final = CallOutcome(error=CallError("transparency.unavailable", "unanswered", "the publisher failed"))


def main() -> None:
    """Run the publisher until its link ends."""
    link, settings = process.begin(PROGRAM, PublisherSettings)
    entry = PluginEntry(
        settings.settings, settings.version, settings.record, settings.certificate, settings.certifiers
    )
    try:
        provider = load_publisher(settings.plugin, entry, settings.kind, development=settings.development)
    except LoadError as exc:
        process.fail(PROGRAM, str(exc))
    trio.run(Publisher(link, provider, settings.name, settings.call_s).run)


if __name__ == "__main__":
    main()
