"""T1: a local process talks to a key worker directly, or stands in its place: a signing oracle beside the pipeline.

The worker is a real service with a real key. Whoever attacks it knows the protocol and has everything but the
credential or the uid. A squatter is a listener that writes down what it hears: there must be no call in it.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.hand import Hand
from fakes.links import Talk
from running.service import CREDENTIAL, ServiceWorker
from signerd.errors import Fault, SignerdError
from signerd.host.credential import read_credential
from signerd.host.worker_socket import Connected, connect
from signerd.verification.keys import PublicKey
from signerd.wire.frames import encode_frame
from signerd.wire.messages import VERSION, Error, Hello
from signerd.wire.worker_auth import Auth, auth_mac
from signerd.wire.worker_calls import DescribeResult, GenerateParams, SignParams, SignResultParams

STRANGER = 4242
"""A uid that is neither root's nor ours."""
OURS = bytes(range(32))
WRONG = b"another credential of enough bytes"
SIGN = {"key": "file:a", "message": bytes(32)}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a process of another uid needs root to be started")


def sealer_of(path: Path, credential: bytes = CREDENTIAL, uid: int | None = None) -> Hand:
    """The sealer's side of a backend at ``path``."""
    return Hand(lambda: connect(str(path), credential, os.geteuid() if uid is None else uid))


@pytest.fixture
def sealers() -> Iterator[Callable[..., Hand]]:
    made: list[Hand] = []

    def make(*args: Any, **options: Any) -> Hand:
        made.append(sealer_of(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.backend.close(0)


@pytest.fixture
def worker(service: ServiceWorker) -> ServiceWorker:
    return service.start()


@contextlib.contextmanager
def talk(worker: ServiceWorker) -> Iterator[Talk]:
    """A connection by somebody of the right uid."""
    with worker.connect() as connection:
        yield Talk(connection)


def proved(peer: Talk, credential: bytes = CREDENTIAL) -> bytes:
    """Go through the handshake as the sealer does; return the worker's nonce."""
    nonce: bytes = peer.hello(OURS)["nonce"]
    peer.send(Auth(auth_mac(credential, "sealer", OURS, nonce)))
    answer = peer.receive()[0]
    assert answer == {"type": "auth", "mac": auth_mac(CREDENTIAL, "worker", OURS, nonce)}
    return nonce


def refused(peer: Talk) -> tuple[str, str]:
    """Return why, and be sure that nothing came after."""
    error = peer.receive()[0]
    assert error["type"] == "error", error
    assert "id" not in error
    assert peer.hung_up()
    return error["code"], error["details"]["reason"]


def serves(worker: ServiceWorker) -> None:
    """Whatever was tried, the next sealer is served."""
    with talk(worker) as peer:
        proved(peer)
        assert peer.ask("describe", {"key": "file:nobody"})["code"] == "key.not_found"


# --- somebody talks to the worker


def test_who_holds_the_credential_is_served_and_others_sign_nothing(
    worker: ServiceWorker, sealers: Callable[..., Hand]
) -> None:
    hand = sealers(worker.socket).up()
    made = hand.ask(("generate", GenerateParams("file:a", "ES256")), ("sign", SignParams("file:a", bytes(32))))
    assert all(isinstance(result, msgspec.Raw) for result in made)
    described = msgspec.msgpack.decode(made[0], type=DescribeResult)  # type: ignore[arg-type]  # was just looked at
    signed = msgspec.msgpack.decode(made[1], type=SignResultParams)  # type: ignore[arg-type]  # was just looked at
    PublicKey.from_spki(described.spki).verify_prehashed(signed.signature, bytes(32))
    assert CREDENTIAL not in worker.said.read_bytes()


def test_a_call_before_the_proof_ends_the_connection(worker: ServiceWorker) -> None:
    with talk(worker) as peer:
        peer.hello(OURS)
        peer.send_bytes(frame({"type": "request", "id": 1, "method": "sign", "params": SIGN}))
        assert refused(peer) == ("request.malformed", "auth_expected")
    with talk(worker) as peer:
        peer.send_bytes(frame({"type": "request", "id": 1, "method": "sign", "params": SIGN}))
        assert refused(peer) == ("request.malformed", "unexpected")
    serves(worker)


def test_a_call_right_behind_a_wrong_proof_is_not_made(worker: ServiceWorker) -> None:
    generate = {"type": "request", "id": 1, "method": "generate", "params": {"key": "file:b", "algorithm": "ES256"}}
    with talk(worker) as peer:
        peer.hello(OURS)
        peer.send_bytes(encode_frame(Auth(bytes(32))) + frame(generate))
        # Closed with the call unread, the socket may be reset before the word of it is taken.
        with contextlib.suppress(ConnectionResetError):
            assert refused(peer) == ("key.forbidden", "wrong_mac")
    serves(worker)
    assert not (worker.base / "keys" / "b.pem").exists()
    assert list((worker.base / "keys").iterdir()) == []


def test_a_wrong_mac_is_refused_and_the_next_sealer_served(worker: ServiceWorker) -> None:
    with talk(worker) as peer:
        nonce = peer.hello(OURS)["nonce"]
        peer.send(Auth(auth_mac(WRONG, "sealer", OURS, nonce)))
        assert refused(peer) == ("key.forbidden", "wrong_mac")
    serves(worker)


@pytest.mark.parametrize("nonce", [msgspec.UNSET, bytes(16), bytes(64)])
def test_a_hello_without_a_nonce_of_32_bytes_is_refused(worker: ServiceWorker, nonce: bytes) -> None:
    with talk(worker) as peer:
        peer.send(Hello((1,), "test", nonce=nonce))
        assert refused(peer) == ("request.malformed", "nonce")


def test_the_mac_of_an_earlier_connection_proves_nothing(worker: ServiceWorker) -> None:
    with talk(worker) as peer:
        nonce = proved(peer)
    overheard = auth_mac(CREDENTIAL, "sealer", OURS, nonce)
    with talk(worker) as peer:
        assert peer.hello(OURS)["nonce"] != nonce, "fresh each time"
        peer.send(Auth(overheard))
        assert refused(peer) == ("key.forbidden", "wrong_mac")


def test_the_worker_is_no_oracle_for_its_own_mac(worker: ServiceWorker) -> None:
    # What a worker would send is not what a sealer must send, and it sends nothing before it has seen that.
    with talk(worker) as peer:
        nonce = peer.hello(OURS)["nonce"]
        peer.send(Auth(auth_mac(CREDENTIAL, "worker", OURS, nonce)))
        assert refused(peer) == ("key.forbidden", "wrong_mac")


def test_a_second_connection_is_refused_at_once_and_disturbs_nobody(worker: ServiceWorker) -> None:
    with talk(worker) as first:
        proved(first)
        for _ in range(3):
            with talk(worker) as second:
                assert refused(second) == ("key.backend_unavailable", "worker_taken")
        assert first.ask("describe", {"key": "file:nobody"})["code"] == "key.not_found"
    serves(worker)


def test_who_says_nothing_is_dropped_after_five_seconds(worker: ServiceWorker) -> None:
    with talk(worker) as peer:
        started = time.monotonic()
        assert peer.hung_up()
        assert 4.5 < time.monotonic() - started < 15
    serves(worker)


@pytest.mark.parametrize(
    "data", [b"\xff" * 4096, bytes(4), b"\x00\x01\x00\x01" + bytes(65537), b"\x00\x00\x00\x01\x80"]
)
def test_garbage_ends_the_connection(worker: ServiceWorker, data: bytes) -> None:
    with talk(worker) as peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send_bytes(data)
        with contextlib.suppress(ConnectionResetError, EOFError):
            assert peer.receive()[0]["type"] == "error"
            assert peer.hung_up()
    serves(worker)


STRANGERS_ATTEMPT = """
import os, socket, sys
uid = int(sys.argv[2])
os.setgid(uid)
os.setuid(uid)
connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
try:
    connected.connect(sys.argv[1])
except OSError as exc:
    print("unreachable", exc.errno)
    sys.exit()
connected.settimeout(10)
try:
    connected.sendall(bytes.fromhex(sys.argv[3]))
except BrokenPipeError:
    pass  # closed before a word
heard = b""
try:
    while part := connected.recv(4096):
        heard += part
except ConnectionResetError:
    pass
print("heard", heard.hex())
"""


def attempt(worker: ServiceWorker) -> str:
    """What another user of the host gets."""
    hello = encode_frame(Hello((1,), "stranger", nonce=OURS)).hex()
    command = [sys.executable, "-I", "-c", STRANGERS_ATTEMPT, str(worker.socket), str(STRANGER), hello]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@needs_root
def test_another_user_does_not_reach_the_socket(worker: ServiceWorker) -> None:
    assert attempt(worker) == "unreachable 13"


@needs_root
def test_another_user_who_reaches_it_is_closed_by_uid() -> None:
    with tempfile.TemporaryDirectory(prefix="t01-") as folder:
        worker = ServiceWorker(Path(folder))
        try:
            worker.start()
            for part in (worker.socket, worker.socket.parent, worker.base):
                part.chmod(0o755 if part.is_dir() else 0o666)
            heard = attempt(worker).removeprefix("heard ")
            said = msgspec.msgpack.decode(bytes.fromhex(heard)[4:])
            assert (said["code"], said["details"]["reason"]) == ("key.forbidden", "peer_uid")
            assert f"uid {STRANGER}" in worker.said.read_text()
            serves(worker)
        finally:
            worker.close()


@needs_root
def test_our_own_root_is_closed_where_another_sealer_is_named(tmp_path: Path) -> None:
    worker = ServiceWorker(tmp_path, ["--sealer-uid", str(STRANGER)])
    try:
        with talk(worker.start()) as peer:
            assert refused(peer) == ("key.forbidden", "peer_uid")
    finally:
        worker.close()


@pytest.mark.parametrize("size", [None, 0, 31, 4097])
def test_a_worker_without_a_fit_credential_does_not_start(service: ServiceWorker, size: int | None) -> None:
    if size is None:
        service.credential.unlink()
    else:
        service.credential.write_bytes(b"secret~" * size)
        os.truncate(service.credential, size)
    done = subprocess.run(service.command(), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    assert done.returncode == 2
    assert (b"credential_missing" if size is None else b"credential_size") in done.stderr
    assert b"secret~" not in done.stderr
    assert not service.socket.exists()


def frame(message: dict[str, object]) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


# --- somebody stands in the worker's place


class Squatter:
    """Listens at ``path``, answers each connection by ``script``, and keeps what it heard."""

    def __init__(self, path: Path, script: Callable[[Talk], None]) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.heard: list[dict[str, Any]] = []
        self.script = script
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            with connected, contextlib.suppress(OSError, EOFError):
                peer = Talk(connected)
                self.script(Heard(connected, self.heard))
                while True:
                    self.heard.append(peer.receive()[0])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


class Heard(Talk):
    """A talk whose every message is kept."""

    def __init__(self, link: socket.socket, heard: list[dict[str, Any]]) -> None:
        super().__init__(link)
        self.kept = heard

    def receive(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        found = super().receive()
        self.kept.append(found[0])
        return found


@pytest.fixture
def squat(service: ServiceWorker) -> Iterator[Callable[..., Squatter]]:
    made: list[Squatter] = []

    def start(script: Callable[[Talk], None], path: Path | None = None) -> Squatter:
        made.append(Squatter(path or service.socket, script))
        return made[-1]

    yield start
    for each in made:
        each.close()


def answer_hello(peer: Talk, nonce: bytes = bytes(32)) -> bytes:
    """Say a worker's hello, whatever came; return the sealer's nonce."""
    hello = peer.receive()[0]
    peer.send(Hello((1,), "squatter", version=VERSION, nonce=nonce))
    theirs: bytes = hello["nonce"]
    return theirs


def wrong_mac(peer: Talk) -> None:
    theirs = answer_hello(peer)
    peer.receive()
    peer.send(Auth(auth_mac(WRONG, "worker", theirs, bytes(32))))


def reflected(peer: Talk) -> None:
    hello = peer.receive()[0]
    peer.send(Hello((1,), "squatter", version=VERSION, nonce=hello["nonce"]))
    peer.send(Auth(peer.receive()[0]["mac"]))


def no_nonce(peer: Talk) -> None:
    peer.receive()
    peer.send(Hello((1,), "squatter", version=VERSION))


def short_nonce(peer: Talk) -> None:
    answer_hello(peer, bytes(16))


def no_auth(peer: Talk) -> None:
    answer_hello(peer)
    peer.receive()
    peer.send(Hello((1,), "squatter", version=VERSION, nonce=bytes(32)))


def response_first(peer: Talk) -> None:
    answer_hello(peer)
    peer.send_bytes(frame({"type": "response", "id": 1, "result": {"outcomes": []}}))


def garbage(peer: Talk) -> None:
    peer.receive()
    peer.send_bytes(b"\x00\x00\x00\x10" + b"\xc1" * 16)


def oversize(peer: Talk) -> None:
    peer.receive()
    peer.send_bytes(b"\xff\xff\xff\xff")


def refusing(peer: Talk) -> None:
    peer.receive()
    peer.send(Error("key.forbidden", "no\nfake log line", False, details={"reason": "x\ny"}))


SCRIPTS = {
    "wrong mac": (wrong_mac, "wrong_mac"),
    "reflected mac": (reflected, "wrong_mac"),
    "no nonce": (no_nonce, "nonce"),
    "short nonce": (short_nonce, "nonce"),
    "no auth": (no_auth, "auth_expected"),
    "a response first": (response_first, "auth_expected"),
    "garbage": (garbage, "no message"),
    "oversize": (oversize, "above the limit"),
    "an error": (refusing, "key.forbidden"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_squatter_gets_no_call_and_not_the_credential(
    name: str,
    service: ServiceWorker,
    squat: Callable[..., Squatter],
    sealers: Callable[..., Hand],
    caplog: pytest.LogCaptureFixture,
) -> None:
    script, reason = SCRIPTS[name]
    squatter = squat(script)
    hand = sealers(service.socket)
    hand.until(lambda: len(hand.started) >= 3)  # it tries again, and gets no further
    assert hand.changes.count(True) == 0
    assert {message["type"] for message in squatter.heard} <= {"hello", "auth"}
    assert CREDENTIAL not in msgspec.msgpack.encode(squatter.heard)
    nonces = [message["nonce"] for message in squatter.heard if message["type"] == "hello"]
    assert len(set(nonces)) == len(nonces), "an overheard mac is of no use for the next connection"
    assert reason in caplog.text
    assert CREDENTIAL.hex() not in caplog.text
    assert "\nfake" not in caplog.text


def test_a_squatter_that_relays_an_overheard_worker_mac_is_refused(
    service: ServiceWorker, squat: Callable[..., Squatter], sealers: Callable[..., Hand]
) -> None:
    overheard: list[tuple[bytes, bytes]] = []
    worker = service.start()
    with talk(worker) as peer:
        overheard.append((nonce := proved(peer), auth_mac(CREDENTIAL, "worker", OURS, nonce)))
    worker.close()
    worker.socket.unlink()

    def replay(peer: Talk) -> None:
        answer_hello(peer, overheard[0][0])
        peer.receive()
        peer.send(Auth(overheard[0][1]))

    squat(replay)
    hand = sealers(service.socket)
    hand.until(lambda: len(hand.started) >= 2)
    assert hand.changes.count(True) == 0


def test_a_worker_that_says_nothing_holds_nobody_up(
    service: ServiceWorker, squat: Callable[..., Squatter], sealers: Callable[..., Hand]
) -> None:
    squat(lambda peer: None)
    hand = sealers(service.socket)
    started = time.monotonic()
    hand.backend.tick(hand.clock.monotonic())
    assert time.monotonic() - started < 1, "the sealer's loop goes on"
    assert not hand.backend.up
    hand.backend.tick(hand.clock.monotonic() + 11)
    assert [each.reap() for each in hand.started] == [True, False], "given up, and tried anew"


def test_a_queue_that_nobody_empties_holds_nobody_up(service: ServiceWorker) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(service.socket))
        listener.listen(0)

        def connect_many() -> None:
            for _ in range(10):
                stack.callback(connect(str(service.socket), CREDENTIAL, os.geteuid()).kill)

        with pytest.raises(Fault) as caught:
            connect_many()
    assert caught.value.reason == "backlog_full"


def reason_of(path: Path, uid: int | None = None) -> str:
    """Why the sealer does not even connect."""
    with pytest.raises(SignerdError) as caught:
        connect(str(path), CREDENTIAL, os.geteuid() if uid is None else uid)
    assert caught.value.code == "key.backend_unavailable"
    assert str(path.parent) not in caught.value.public
    return caught.value.reason


@pytest.fixture
def silent(service: ServiceWorker) -> Iterator[socket.socket]:
    """A listener in the worker's place that must never be connected to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(service.socket))
        listener.listen()
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.usefixtures("silent")
def test_a_symlink_on_the_path_is_refused(service: ServiceWorker, tmp_path: Path) -> None:
    link = service.socket.with_name("link.sock")
    link.symlink_to(service.socket)
    assert reason_of(link) == "symlink"
    (tmp_path / "short").symlink_to(service.socket.parent)
    assert reason_of(tmp_path / "short" / service.socket.name) == "symlink"


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(service: ServiceWorker, mode: int) -> None:
    service.socket.parent.chmod(mode)
    assert reason_of(service.socket) == "directory_mode"


@pytest.mark.usefixtures("silent")
def test_a_directory_above_that_others_may_write_to_is_refused(service: ServiceWorker, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert reason_of(service.socket) == "directory_mode"


@needs_root
@pytest.mark.usefixtures("silent")
def test_what_belongs_to_another_user_is_refused(service: ServiceWorker) -> None:
    os.chown(service.socket, STRANGER, STRANGER)
    assert reason_of(service.socket) == "socket_owner"
    os.chown(service.socket.parent, STRANGER, STRANGER)
    assert reason_of(service.socket) == "directory_owner"


def test_a_listener_of_another_uid_is_refused(service: ServiceWorker) -> None:
    heard = b"?"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(service.socket))
        listener.listen()
        if os.geteuid() == 0:  # all belongs to root, which may be; only the kernel knows who listens
            assert reason_of(service.socket, STRANGER) == "peer_uid"
            connected, _ = listener.accept()
            with connected:
                heard = connected.recv(100)
            assert heard == b""
        else:
            assert reason_of(service.socket, STRANGER) == "directory_owner"


def test_what_is_no_socket_or_not_there_is_refused(service: ServiceWorker) -> None:
    assert reason_of(service.socket) == "socket_missing"
    assert reason_of(service.socket.parent / "gone" / "x.sock") == "directory_missing"
    service.socket.write_text("")
    assert reason_of(service.socket) == "not_a_socket"


def test_a_socket_that_is_swapped_before_connecting_is_sent_nothing(
    service: ServiceWorker, squat: Callable[..., Squatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = squat(lambda peer: None)
    evil = service.socket.with_name("evil.sock")
    squatter = squat(lambda peer: None, evil)

    class Swapping(socket.socket):
        """The attacker is quick: between the look at the path and the connection."""

        def connect(self, address: Any) -> None:
            os.replace(evil, service.socket)
            super().connect(address)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Swapping)
        assert reason_of(service.socket) == "socket_swapped"
    wanted.close()
    squatter.close()
    assert wanted.heard == squatter.heard == []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.chmod(0o640), "credential_mode"),
        (lambda path: path.chmod(0o604), "credential_mode"),
        (lambda path: path.write_bytes(b"x" * 31), "credential_size"),
        (lambda path: path.write_bytes(b"x" * 4097), "credential_size"),
        (lambda path: path.unlink(), "credential_missing"),
        (lambda path: (path.rename(f"{path}2"), path.symlink_to(f"{path}2")), "credential_symlink"),
        (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "credential_type"),
        (lambda path: (path.unlink(), path.mkdir(0o700)), "credential_type"),
    ],
)
def test_a_credential_that_others_could_know_is_not_used(
    service: ServiceWorker, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(service.credential)
    with pytest.raises(Fault) as caught:
        read_credential(str(service.credential))
    assert caught.value.reason == reason


def test_a_condemned_worker_is_disconnected_and_connected_again(
    worker: ServiceWorker, sealers: Callable[..., Hand]
) -> None:
    hand = sealers(worker.socket).up()
    hand.backend.condemn("it lied")
    assert not hand.backend.up
    hand.up()
    assert len(hand.started) == 2
    assert all(isinstance(each, Connected) for each in hand.started)
