"""One bounded exchange over HTTP: one deadline for all of it, a limit on what is read, no redirect, no proxy.

httpcore takes no variables of the environment and follows nothing. Its time-outs are for each read, so that a peer
which sends a byte now and then would hold a worker for ever: here each read gets what is left of the one deadline.
"""

import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import httpcore

__all__ = ["Client", "Reply", "Unanswered"]

_BROKEN: Final = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)
_CONTENT_TYPE: Final = 200


class Unanswered(Exception):
    """There is no whole answer. ``reason``: ``timeout``, ``unreachable``, ``broken``, ``too_large``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered: the status, the media type in lower case without parameters, all of the body."""

    status: int
    media_type: str
    body: bytes


class Client:
    """Asks one question at a time; ``tls_ca`` is a file of authorities in PEM in place of the system's."""

    def __init__(self, timeout_s: float, most: int, tls_ca: str | None = None) -> None:
        self._timeout_s = timeout_s
        self._most = most
        self._tls = ssl.create_default_context(cafile=tls_ca)

    def ask(self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Reply:
        """Send one request and return its answer; raises Unanswered, the text of which holds nothing that was sent."""
        deadline = _Deadline(time.monotonic() + self._timeout_s)
        given = [*headers, *([("Content-Length", str(len(body)))] if body else [])]
        try:
            with (
                # Kept open, a connection would often have died by the next certificate.
                httpcore.ConnectionPool(ssl_context=self._tls, retries=0, network_backend=deadline) as pool,
                pool.stream(method, url, headers=_encoded(given), content=body or None) as response,
            ):
                read = bytearray()
                for part in response.iter_stream():
                    read += part
                    if len(read) > self._most:
                        raise Unanswered("too_large")
                return Reply(response.status, _media_type(response.headers), bytes(read))
        except httpcore.TimeoutException:
            raise Unanswered("timeout") from None
        except httpcore.ConnectError:
            raise Unanswered("unreachable") from None
        except (*_BROKEN, OSError):
            # The text of h11's errors repeats a header that it does not like: a secret may stand there.
            raise Unanswered("broken") from None


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    try:
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    except UnicodeEncodeError:
        raise Unanswered("broken") from None


def _media_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    values = [value for name, value in headers if name.lower() == b"content-type"]
    return values[0][:_CONTENT_TYPE].decode("latin-1").partition(";")[0].strip().lower() if values else ""


class _Deadline(httpcore.NetworkBackend):
    """Makes connections whose every operation ends by one time."""

    def __init__(self, at: float) -> None:
        self._inner = httpcore.SyncBackend()
        self._at = at

    def left(self) -> float:
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(host, port, self.left(), local_address, socket_options)
        return _Stream(stream, self)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
