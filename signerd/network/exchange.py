"""One HTTP exchange, bounded in every way: no redirects, no proxies of the environment, so many bytes and no more."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import httpcore
import trio

__all__ = ["Answer", "Ask", "Exchange", "Headers", "Unanswered", "UnansweredReason"]

_SOFTWARE: Final = ("user-agent", "signerd")
_BROKEN: Final = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)

Headers = Iterable[tuple[str, str]]
UnansweredReason = Literal["timeout", "unreachable", "broken", "too_large"]


class Unanswered(Exception):
    """There is no whole answer. The text is the operator's: the server and path that were asked, and nothing that was
    sent or answered, for either may hold a secret."""

    def __init__(self, reason: UnansweredReason, text: str) -> None:
        super().__init__(text)
        self.reason: UnansweredReason = reason


class Answer(NamedTuple):
    """What a server answered; names of ``headers`` are lowercase, and the first of a name counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The type of the body in lowercase, without parameters; empty where the server names none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


Ask = Callable[[str, str, int, bytes | None, Headers], Answer]
"""What asks: method, URL, most bytes of an answer, body, headers; :meth:`Exchange.within` some time."""


class Exchange:
    """Exchanges with servers for whose certificates ``ca`` (a PEM file; None: the system's) vouches.

    A connection serves one exchange: what is asked for so takes a second or more, or is rare, so that one which is
    kept would mostly have died by the next.
    """

    def __init__(self, ca: str | None = None) -> None:
        """Raises OSError or ssl.SSLError for a file that holds no certificates."""
        self._tls = ssl.create_default_context(cafile=ca)

    async def __call__(
        self,
        method: str,
        url: str,
        most: int,
        body: bytes | None = None,
        headers: Headers = (),
    ) -> Answer:
        """Return the answer, of at most ``most`` bytes, whatever its status. A trio scope around it bounds its time.

        Raises Unanswered: ``unreachable`` (nobody there, or no certificate that ``ca`` vouches for), ``broken`` (no
        HTTP, or less than was announced; a header that cannot be sent), ``too_large``.
        """
        where = _shown(url)
        parts: list[bytes] = []
        size = 0
        try:
            length = () if body is None else (("content-length", str(len(body))),)
            sent = [(name.encode("ascii"), text.encode("ascii")) for name, text in (_SOFTWARE, *length, *headers)]
            async with (
                httpcore.AsyncConnectionPool(ssl_context=self._tls, max_connections=1) as pool,
                pool.stream(method, url, headers=sent, content=None if body is None else _Body(body)) as answer,
            ):
                # Leaving httpcore's nested generators early would leave them open; cancelling ends them from within.
                with trio.CancelScope() as enough:
                    async for part in answer.aiter_stream():
                        parts.append(part)
                        size += len(part)
                        if size > most:
                            enough.cancel()
                if size > most:
                    raise Unanswered("too_large", f"{where}: more than {most} bytes")
                return Answer(answer.status, _told(answer.headers), b"".join(parts))
        except httpcore.ConnectError as exc:
            raise Unanswered("unreachable", f"{where}: {type(exc.__cause__ or exc).__name__}") from None
        except (*_BROKEN, httpcore.TimeoutException, OSError, UnicodeEncodeError) as exc:
            # The text of h11's errors repeats a header that it does not like: a secret may stand there.
            raise Unanswered("broken", f"{where}: {type(exc).__name__}") from None

    def within(
        self, seconds: float, method: str, url: str, most: int, body: bytes | None, headers: Headers
    ) -> Answer:
        """Do the same for a caller that has no event loop, within ``seconds``; past that Unanswered ``timeout``."""

        async def ask() -> Answer:
            with trio.fail_after(max(0.0, seconds)):
                return await self(method, url, most, body, headers)

        try:
            return trio.run(ask)
        except trio.TooSlowError:
            raise Unanswered("timeout", f"{_shown(url)}: no answer within {seconds:g} s") from None


class _Body:
    """A body to send, once. Not httpcore's own, a generator, which stays open where the server hangs up meanwhile."""

    def __init__(self, body: bytes) -> None:
        self._parts = [body]

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


def _told(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    told: dict[str, str] = {}
    for name, value in headers:
        told.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return told


def _shown(url: str) -> str:
    """Return the URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{'' if parts.port is None else f':{parts.port}'}{parts.path}"
