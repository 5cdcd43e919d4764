"""A certificate authority that answers as Fulcio does, in a thread, and lies where a test says so.

It issues under the tests' own Sigstore for whatever a token claims: no signature of a token is looked at.
"""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.sigstore import Issued, Key, Sigstore

__all__ = ["Asked", "FakeFulcio", "encode", "fake_fulcio", "jwt", "now", "pem"]

ISSUER = "https://issuer.example"
SUBJECT = "https://ci.example/job"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(**claims: object) -> str:
    """A token that nobody has signed; a claim of None is left out."""
    told = {"iss": ISSUER, "aud": "sigstore", "sub": SUBJECT, "exp": int(time.time()) + 300, **claims}
    return f"{encode({'alg': 'none'})}.{encode({k: v for k, v in told.items() if v is not None})}.AAAA"


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


@dataclass
class Asked:
    """One request for a certificate: the token's claims, and the key of the CSR."""

    claims: dict[str, Any]
    key: ec.EllipticCurvePublicKey


@dataclass
class _Public:
    """A key as what the Sigstore's ``leaf`` takes: only its public half is asked for."""

    public: ec.EllipticCurvePublicKey

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.public


@dataclass
class FakeFulcio:
    """``answer`` gives status, media type and body; ``asked`` is what has come, ``before`` is called first."""

    stack: Sigstore = field(default_factory=Sigstore)
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], tuple[int, str, bytes]] | None = None
    before: Callable[[], None] = lambda: None

    def certificate(self, asked: Asked, **changes: Any) -> bytes:
        """Issue: ``changes`` are the lies, arguments of ``Sigstore.leaf`` (``key`` is another key)."""
        key = changes.pop("key", None)
        told: dict[str, Any] = {
            "san": asked.claims["sub"],
            "issuer": asked.claims["iss"],
            "start": now() - timedelta(seconds=1),
            "end": now() + timedelta(minutes=10),
            "sct_at": now(),
            **changes,
        }
        holder: Any = key or _Public(asked.key)
        return self.stack.leaf(holder, **told)

    def chain(self, leaf: bytes, *above: Issued) -> tuple[int, str, bytes]:
        """Answer with a leaf and what stands above it: by default the true chain."""
        issuers = above or (self.stack.ca, self.stack.root)
        texts = [pem(leaf), *[one.certificate.public_bytes(Encoding.PEM).decode() for one in issuers]]
        body = {"signedCertificateEmbeddedSct": {"chain": {"certificates": texts}}}
        return 200, "application/json", json.dumps(body).encode()

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Write what it is trusted by: the authority's chain and the CT log's key."""
        ca, log = folder / "ca.pem", folder / "ct.pem"
        chain = (self.stack.ca.certificate, self.stack.root.certificate)
        ca.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        key: Key = self.stack.ct.key
        log.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return ca, log

    def settings(self, folder: Path, **changes: object) -> dict[str, object]:
        """The plugin's settings for it: one key ``ci`` that signs by the request's token."""
        ca, log = self.files(folder)
        keys = {"ci": {"token": "request", "issuers": [ISSUER]}}
        return {"url": self.url, "ca": str(ca), "ct_log_keys": [str(log)], "keys": keys, "timeout_s": 5, **changes}

    def take(self, handler: BaseHTTPRequestHandler) -> tuple[int, str, bytes]:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        token = body["credentials"]["oidcIdentityToken"].split(".")[1]
        csr = x509.load_pem_x509_csr(base64.b64decode(body["certificateSigningRequest"]))
        assert csr.is_signature_valid
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        asked = Asked(json.loads(base64.urlsafe_b64decode(token + "==")), key)
        self.before()
        self.asked.append(asked)
        return self.answer(asked) if self.answer else self.chain(self.certificate(asked))


@contextlib.contextmanager
def fake_fulcio() -> Iterator[FakeFulcio]:
    """Serve one on loopback until the block ends."""
    fulcio = FakeFulcio()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, media_type, body = fulcio.take(self)
            with contextlib.suppress(OSError):  # who asked may have gone: a test lets it wait too long
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                if 300 <= status < 400:
                    self.send_header("Location", f"{fulcio.url}/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the standard library
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        fulcio.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield fulcio
        finally:
            server.shutdown()
            thread.join()
