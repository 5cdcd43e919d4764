"""TLS before a server on loopback: certificates of an authority of the tests' own, right or wrong as a test says."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["TlsAuthority", "tls_front"]

DAY = timedelta(days=1)


class TlsAuthority:
    """An authority for servers; ``file`` is its certificate in PEM."""

    def __init__(self, folder: Path, name: str = "servers") -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._subject, self._key.public_key(), datetime.now(UTC) + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def context(self, *, host: str = "127.0.0.1", expired: bool = False) -> ssl.SSLContext:
        """What a server of that address proves itself with, unless the certificate has ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + (-DAY if expired else DAY)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        certificate = (
            self._builder(subject, key.public_key(), end).add_extension(names, critical=False).sign(self._key, SHA256())
        )
        file = self._folder / f"{self._name}-server.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - 60 * DAY)
            .not_valid_after(end)
        )


@contextlib.contextmanager
def tls_front(context: ssl.SSLContext, port: int) -> Iterator[str]:
    """Serve the HTTP server of that port by TLS until the block ends; gives the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=_serve, args=(context, connection, port), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    accepting.join(10)
    for thread in threads:
        thread.join(10)


def _serve(context: ssl.SSLContext, connection: socket.socket, port: int) -> None:
    """Hand one request on, and its answer back: both sides close after it."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(20)
        near = context.wrap_socket(connection, server_side=True)
        with near, socket.create_connection(("127.0.0.1", port), 20) as far:
            pump = threading.Thread(target=_pump, args=(near, far), daemon=True)
            pump.start()
            _pump(far, near)
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
            pump.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
