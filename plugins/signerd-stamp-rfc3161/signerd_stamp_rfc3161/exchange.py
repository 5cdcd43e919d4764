"""One HTTP exchange, bounded in every way: no redirects, no proxies of the environment, so many bytes and no more.

Time is the caller's to bound: a trio scope around it ends it wherever it stands.
"""

import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

import httpcore
import trio

from signerd.errors import Fault

__all__ = ["Answer", "Exchange", "unavailable"]

_SOFTWARE: Final = b"signerd"


class Answer(NamedTuple):
    """What a server answered; names of ``headers`` are lowercase."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def unavailable(reason: str, operator: str) -> Fault:
    """Return the one fault of a publisher."""
    return Fault("transparency.unavailable", reason, "a proof of publication cannot be had", operator=operator)


class Exchange:
    """Exchanges with servers of certificates that ``ca`` (a PEM file; None: the system's) vouches for.

    A connection serves one exchange: what is asked takes a second or more, and calls come from many tasks.
    """

    def __init__(self, ca: str | None = None) -> None:
        self._tls = ssl.create_default_context(cafile=ca)

    async def __call__(
        self, method: str, url: str, most: int, body: bytes | None = None, kind: str = "application/json"
    ) -> Answer:
        """Return the answer, of at most ``most`` bytes.

        Raises ``transparency.unavailable``: ``unreachable``, ``answer_too_large``.
        """
        headers = [(b"user-agent", _SOFTWARE), (b"accept", b"*/*")]
        if body is not None:
            headers.append((b"content-type", kind.encode()))
        parts: list[bytes] = []
        size = 0
        try:
            async with (
                httpcore.AsyncConnectionPool(ssl_context=self._tls, max_connections=1) as pool,
                pool.stream(method, url, headers=headers, content=body) as answer,
            ):
                # Leaving httpcore's nested generators early would leave them open; cancelling ends them from within.
                with trio.CancelScope() as enough:
                    async for part in answer.aiter_stream():
                        parts.append(part)
                        size += len(part)
                        if size > most:
                            enough.cancel()
                if size > most:
                    raise unavailable("answer_too_large", f"{url}: more than {most} bytes")
                told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
                return Answer(answer.status, told, b"".join(parts))
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as exc:
            raise unavailable("unreachable", f"{url}: {type(exc).__name__}: {exc}") from exc
