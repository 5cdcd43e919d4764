"""What stands before Rekor v2: `python -P rekor_front.py PORT REKOR_PORT STORAGE`.

Rekor's server takes entries and has no read endpoints; its files are to be served by whatever the operator has. This
serves ``/api/v2/checkpoint`` and ``/api/v2/tile/…`` (C2SP tlog-tiles) from the storage directory, answers ``/front``
for readiness, and hands every other request to Rekor unchanged.
"""

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Handler", "main"]

READ = "/api/v2/"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms on a connection that is kept
    rekor_port: int
    storage: Path

    def do_GET(self) -> None:
        """A file of the log, or what Rekor answers."""
        path = self.path.partition("?")[0]
        wanted = path.removeprefix(READ)
        if path == "/front":
            self._answer(200, "text/plain", b"ready\n")
        elif path.startswith(READ) and (wanted == "checkpoint" or wanted.startswith("tile/")):
            file = (self.storage / wanted).resolve()
            if file.is_relative_to(self.storage) and file.is_file():
                self._answer(200, "application/octet-stream", file.read_bytes())
            else:
                self._answer(404, "text/plain", b"not found\n")
        else:
            self._pass_on(None)

    def do_POST(self) -> None:
        """Hand it on."""
        self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _pass_on(self, body: bytes | None) -> None:
        rekor = http.client.HTTPConnection("127.0.0.1", self.rekor_port, timeout=120)
        kept = {name: value for name, value in self.headers.items() if name.lower() in ("accept", "content-type")}
        try:
            rekor.request(self.command, self.path, body, kept)
            answer = rekor.getresponse()
            read = answer.read()
        except OSError:
            self._answer(502, "text/plain", b"rekor does not answer\n")
        else:
            index = answer.headers.get("X-Log-Index")
            headers = {"X-Log-Index": index} if index is not None else {}
            self._answer(answer.status, answer.headers.get("Content-Type", "text/plain"), read, headers)
        finally:
            rekor.close()

    def _answer(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Takes many posts at once: each waits for its checkpoint."""

    request_queue_size = 256


def main(port: int, rekor_port: int, storage: Path) -> None:
    """Serve until a signal ends it."""
    Handler.rekor_port = rekor_port
    Handler.storage = storage.resolve()
    with Server(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
