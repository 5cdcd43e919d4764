"""The example worker in Go is a key worker like any other: the kit judges it, and a daemon signs through it at a socket
path."""

import contextlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from environment import cache
from integration.test_docs import Shell, blocks, type_all
from outside.parts import ROOT, the
from running.callers import request, sign_until
from running.configured import PLUGINS, until
from running.daemon import Running
from signerd.errors import SignerdError
from signerd_client import Signer
from signerd_conformance.worker import Start, Worker

pytestmark = pytest.mark.needs("go")

SOURCE = ROOT / "conformance" / "examples" / "go"
CREDENTIAL = bytes(range(0x40, 0x60))
P256, P384 = ec.SECP256R1(), ec.SECP384R1()


def alone() -> dict[str, str]:
    """The variables with which nothing but its standard library is to be had for go."""
    home = cache() / "go"
    return {
        "GOPROXY": "off",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOPATH": str(home / "path"),
        "GOCACHE": str(home / "build"),
        "PATH": f"{the('go').parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def go(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run go in the example's folder."""
    command: list[str | Path] = [the("go"), *arguments]
    return subprocess.run(
        command, cwd=SOURCE, env={**os.environ, **alone()}, capture_output=True, text=True, check=False, timeout=280
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("go") / "worker"
    done = go("build", "-o", str(made), ".")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    put(folder / "release.pem", ec.generate_private_key(P256))
    return folder


def put(file: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | bytes, mode: int = 0o600) -> None:
    file.touch(mode=0o600)
    file.write_bytes(
        key if isinstance(key, bytes) else key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    file.chmod(mode)


class Service:
    """The worker as a service of its own, at ``path``."""

    def __init__(self, program: Path, keys: Path, folder: Path, *more: str) -> None:
        self.path = folder / "worker.sock"
        self.credential = folder / "credential"
        put(self.credential, CREDENTIAL)
        self.path.unlink(missing_ok=True)
        command: list[str | Path] = [program, "-keys", keys, "-socket", self.path, "-credential", self.credential]
        command += more
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2)

    def __enter__(self) -> Self:
        until(lambda: self.path.is_socket() or self._process.poll() is not None)
        assert self._process.poll() is None
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path (sun_path holds 107 bytes), closed to others."""
    with tempfile.TemporaryDirectory(prefix="signerd-go-") as made:
        yield Path(made)


@pytest.fixture
def service(program: Path, keys: Path, folder: Path) -> Iterator[Service]:
    with Service(program, keys, folder) as started:
        yield started


class Peer:
    """Whoever comes to the socket, in a second implementation of the encoding."""

    def __init__(self, path: Path) -> None:
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.settimeout(20)
        self._link.connect(os.fspath(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._link.close()

    def send(self, **message: object) -> None:
        body = msgpack.packb(message)
        with contextlib.suppress(BrokenPipeError):
            self._link.sendall(len(body).to_bytes(4, "big") + body)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None at the end."""
        head = self._exactly(4)
        if head is None:
            return None
        body = self._exactly(int.from_bytes(head, "big"))
        assert body is not None
        read: dict[str, Any] = msgpack.unpackb(body)
        return read

    def hello(self, nonce: bytes | None = bytes(32)) -> dict[str, Any]:
        self.send(type="hello", versions=[1], software="peer", **({} if nonce is None else {"nonce": nonce}))
        answer = self.receive()
        assert answer is not None
        return answer

    def auth(self, role: bytes, client: bytes, server: bytes, credential: bytes = CREDENTIAL) -> dict[str, Any] | None:
        self.send(type="auth", mac=hmac.digest(credential, role + client + server, "sha256"))
        return self.receive()

    def _exactly(self, size: int) -> bytes | None:
        got = b""
        while len(got) < size:
            try:
                part = self._link.recv(size - len(got))
            except ConnectionResetError:
                return None
            if not part:
                return None
            got += part
        return got


def code(answer: dict[str, Any] | None) -> str:
    return "" if answer is None else f"{answer.get('code')} {answer.get('details', {}).get('reason')}"


def test_it_is_short_and_needs_the_standard_library_alone() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in SOURCE.glob("*.go")}
    assert lines["worker.go"] <= 150, "keys, calls, session"
    assert sum(lines.values()) <= 400, "with what a library of msgpack would bring, and the socket path"
    assert "require" not in (SOURCE / "go.mod").read_text()
    vetted = go("vet", ".")
    assert vetted.returncode == 0, vetted.stderr
    formatter = the("go").with_name("gofmt")
    if formatter.exists():
        formatted = subprocess.run([formatter, "-l", "."], cwd=SOURCE, capture_output=True, text=True, check=True)
        assert formatted.stdout == ""


def test_the_kit_accepts_it(program: Path, keys: Path) -> None:
    kit = Path(sys.executable).with_name("signerd-conformance")
    command: list[str | Path] = [kit, "backend", "--key", "go:release", "--", program, "-keys", keys]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("skip")]
    assert skipped == ["sign-memfd", "generate", "generate-taken", "rotate"], "it gets digests, and makes no keys"


@pytest.mark.parametrize(
    ("key", "mode", "said"),
    [
        (lambda: ec.generate_private_key(P256), 0o640, "key.backend_fault"),
        (lambda: ec.generate_private_key(P384), 0o600, "key.algorithm_refused"),
        (ed25519.Ed25519PrivateKey.generate, 0o600, "key.algorithm_refused"),
        (lambda: b"no key", 0o600, "key.backend_fault"),
        (lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600, "key.algorithm_refused"),
    ],
)
def test_a_file_that_is_no_key_of_its_kind_is_refused(
    key: Callable[[], Any], mode: int, said: str, program: Path, keys: Path
) -> None:
    put(keys / "other.pem", key(), mode)
    with Worker(Start((str(program), "-keys", str(keys)))) as worker:
        worker.hello()
        for method in ("describe", "sign"):
            assert worker.refusal(method, {"key": "go:other", "message": bytes(32)}).code == said


# At a socket path.


def configuration(service: Service, state: Path) -> str:
    """A daemon whose only backend is the one that the example's page shows."""
    (shown,) = blocks(SOURCE / "README.md", "toml")
    shown = shown.replace("/srv/signerd-key-go/run/worker.sock", str(service.path))
    shown = shown.replace("/srv/signerd-key-go/credential", str(service.credential))
    return f"""
[daemon]
state = "{state}"
[limits]
worker_backoff_first_s = 0.05
worker_backoff_longest_s = 0.2
{PLUGINS}
[tenants.local]
keys = ["go:release"]
{shown}"""


def test_what_its_page_has_one_type(tmp_path: Path) -> None:
    folder = tmp_path / "go"
    shutil.copytree(SOURCE, folder)
    with Shell(folder, alone()) as shell:
        assert type_all(shell, SOURCE / "README.md") == 9


def test_a_daemon_signs_through_it_and_again_after_its_restart(
    program: Path, keys: Path, folder: Path, tmp_path: Path, daemon_factory: Callable[..., Running]
) -> None:
    (tmp_path / "daemon").mkdir()
    with Service(program, keys, folder) as service:
        daemon = daemon_factory(tmp_path / "daemon", config=configuration(service, tmp_path / "daemon" / "state"))
        with Signer.connect(daemon.socket) as signer:
            described = signer.keys().keys[0]
            assert (described.key, described.algorithm) == ("go:release", "ES256")
            assert signer.sign_dsse(request()).bundles  # the sealer has verified what it released
    with Service(program, keys, folder):
        sign_until(daemon.socket, 20)


def test_a_daemon_with_another_credential_gets_nothing_signed(
    service: Service, tmp_path: Path, daemon_factory: Callable[..., Running]
) -> None:
    (tmp_path / "daemon").mkdir()
    text = configuration(service, tmp_path / "daemon" / "state")
    other = service.credential.with_name("other")
    put(other, bytes(32))
    daemon = daemon_factory(tmp_path / "daemon", config=text.replace(str(service.credential), str(other)))
    until(lambda: "wrong_mac" in daemon.said)
    with Signer.connect(daemon.socket) as signer, pytest.raises(SignerdError) as refused:
        signer.sign_dsse(request())
    assert refused.value.code.startswith("key.")


def test_the_kit_accepts_it_at_its_socket(service: Service) -> None:
    kit = Path(sys.executable).with_name("signerd-conformance")
    command: list[str | Path] = [kit, "backend", "--key", "go:release", "--socket", service.path]
    command += ["--credential", service.credential]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_answers_whoever_proves_the_credential_and_proves_it_too(service: Service) -> None:
    with Peer(service.path) as peer:
        server = peer.hello()["nonce"]
        answer = peer.auth(b"sealer", bytes(32), server)
        assert answer == {"type": "auth", "mac": hmac.digest(CREDENTIAL, b"worker" + bytes(32) + server, "sha256")}
        peer.send(type="request", id=7, method="describe", params={"key": "go:release"})
        described = peer.receive()
        assert described is not None
        assert (described["id"], described["result"]["algorithm"]) == (7, "ES256")


@pytest.mark.parametrize(
    ("role", "client", "credential"),
    [
        (b"sealer", bytes(32), bytes(32)),
        (b"worker", bytes(32), CREDENTIAL),
        (b"sealer", bytes(31), CREDENTIAL),
        (b"sealer", None, CREDENTIAL),
        (b"sealer", b"", CREDENTIAL),
    ],
)
def test_whoever_does_not_prove_it_is_answered_nothing(
    role: bytes, client: bytes | None, credential: bytes, service: Service
) -> None:
    with Peer(service.path) as peer:
        server = peer.hello(client)["nonce"]
        assert code(peer.auth(role, client or b"", server, credential)) == "key.forbidden wrong_mac"
        peer.send(type="request", id=1, method="describe", params={"key": "go:release"})
        assert peer.receive() is None


def test_a_nonce_is_of_one_connection_alone(service: Service) -> None:
    nonces = [greeted(service) for _ in range(3)]
    assert {len(nonce) for nonce in nonces} == {32}
    assert len(set(nonces)) == len(nonces)


def greeted(service: Service) -> bytes:
    """The nonce of a new connection, as soon as the one before it is over."""
    nonces: list[bytes] = []

    def ask() -> bool:
        with Peer(service.path) as peer:
            nonces.extend(filter(None, [peer.hello().get("nonce")]))
        return bool(nonces)

    until(ask)
    return nonces[0]


def test_a_call_before_the_proof_is_the_end(service: Service) -> None:
    with Peer(service.path) as peer:
        peer.hello()
        peer.send(type="request", id=1, method="describe", params={"key": "go:release"})
        assert code(peer.receive()) == "key.forbidden wrong_mac"
        assert peer.receive() is None


def test_it_serves_one_connection_at_a_time(service: Service) -> None:
    with Peer(service.path) as first:
        first.hello()
        with Peer(service.path) as second:
            assert code(second.receive()) == "key.backend_unavailable worker_taken"
            assert second.receive() is None
    assert greeted(service)


def test_a_peer_of_another_user_is_sent_away(program: Path, keys: Path, folder: Path) -> None:
    with Service(program, keys, folder, "-uid", "4242") as service, Peer(service.path) as peer:
        assert peer.receive() is None
        assert service.path.stat().st_mode & 0o777 == 0o666


def test_the_socket_is_closed_to_other_users(service: Service) -> None:
    assert service.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", ["short credential", "no credential", "open folder"])
def test_it_does_not_listen_where_that_is_not_safe(fault: str, program: Path, keys: Path, folder: Path) -> None:
    credential = folder / "credential"
    if fault != "no credential":
        put(credential, bytes(31 if fault == "short credential" else 32))
    if fault == "open folder":
        folder.chmod(0o777)
    command: list[str | Path] = [program, "-keys", keys, "-socket", folder / "worker.sock", "-credential", credential]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.strip()
    assert not (folder / "worker.sock").exists()
