"""The load generator against a peer that lives in a thread of the test and misbehaves on purpose."""

import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bench.load import Load, LoadFailed, Sample, explain
from bench.templates import Expectation, Template, frame, sign_dsse

Answer = Callable[[bytes], bytes | None]

NO_COMPILER = "no C compiler: apt-get install gcc libc6-dev"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason=NO_COMPILER)
Runner = Callable[..., tuple[Sample, "Peer"]]
TEMPLATE = sign_dsse(2048, f"sha256:{'5e' * 32}")
RECEIPT = {"receipt": {"leaf_hash": "00"}}


class Peer:
    """Answers each frame with what `answer` makes of its body; None closes the connection."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.bodies: list[bytes] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while header := stream.read(4):
                body = stream.read(struct.unpack(">I", header)[0])
                self.bodies.append(body)
                answer = self._answer(body)
                if answer is None:
                    return
                try:
                    connection.sendall(answer)
                except OSError:
                    return


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    return Load(tmp_path_factory.mktemp("load"))


@pytest.fixture
def run(load: Load, tmp_path: Path) -> Iterator[Runner]:
    peers: list[Peer] = []

    def run(answer: Answer, connections: int = 1, template: Template = TEMPLATE) -> tuple[Sample, Peer]:
        path = tmp_path / f"{len(peers)}.sock"
        peers.append(Peer(path, answer))
        return load.run(path, template, connections, seconds=0.2, warm=0.05), peers[-1]

    yield run
    for peer in peers:
        peer.close()


def greeted(then: Callable[[dict[str, object]], bytes | None]) -> Answer:
    def answer(body: bytes) -> bytes | None:
        message = msgspec.msgpack.decode(body)
        return frame({"type": "hello", "version": 1}) if message["type"] == "hello" else then(message)

    return answer


def signed(message: dict[str, object]) -> bytes:
    return frame({"type": "response", "id": message["id"], "result": RECEIPT})


def test_every_request_is_another_one_and_every_answer_counts(run: Runner) -> None:
    sample, peer = run(greeted(signed), connections=3)
    requests = [body for body in map(msgspec.msgpack.decode, peer.bodies) if body["type"] == "request"]
    digests = {request["params"]["subject"][0]["digest"]["sha256"] for request in requests}
    assert sample.failures == 0
    assert 0 < sample.requests <= sample.answered == len(requests) == len(digests)
    assert len({request["id"] for request in requests}) == len(requests)
    assert 0 < sample.p50_us <= sample.p99_us <= sample.max_us
    assert sample.rate == pytest.approx(sample.requests / sample.seconds, rel=0.01)


def test_two_runs_share_no_counter(run: Runner) -> None:
    def digests(peer: Peer) -> set[str]:
        messages = map(msgspec.msgpack.decode, peer.bodies)
        return {m["params"]["subject"][0]["digest"]["sha256"] for m in messages if m["type"] == "request"}

    assert not digests(run(greeted(signed))[1]) & digests(run(greeted(signed))[1])


def test_an_error_is_a_failure_and_is_told(run: Runner) -> None:
    def refused(message: dict[str, object]) -> bytes:
        return frame({"type": "error", "id": message["id"], "code": "quota.rate", "retryable": True})

    sample, _ = run(greeted(refused))
    assert (sample.requests, sample.answered, sample.rate) == (0, 0, 0)
    assert sample.failures > 0
    assert "quota.rate" in explain(sample)


@pytest.mark.parametrize(
    "answer",
    [
        lambda message: frame({"type": "response", "id": 7, "result": RECEIPT}),
        lambda message: frame({"type": "response", "id": message["id"], "result": {}}),
        lambda message: signed(message) + signed(message),
    ],
    ids=["another id", "no receipt", "answered twice"],
)
def test_an_answer_that_is_not_the_one_to_the_request_is_a_failure(
    run: Runner, answer: Callable[[dict[str, object]], bytes]
) -> None:
    assert run(greeted(answer))[0].failures > 0


def test_a_connection_that_is_closed_is_one_failure_and_ends(run: Runner) -> None:
    sample, _ = run(greeted(lambda message: None), connections=2)
    assert sample.failures == 2
    assert sample.seconds < 0.2


def test_a_peer_that_does_not_greet_is_no_load(run: Runner) -> None:
    with pytest.raises(LoadFailed, match="hello"):
        run(lambda body: frame({"type": "error", "code": "request.malformed"}))


def test_nobody_listening_is_no_load(load: Load, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="cannot connect"):
        load.run(tmp_path / "none.sock", TEMPLATE, 1, seconds=0.1, warm=0)


def test_a_stopped_load_reports_the_window_that_it_had(load: Load, tmp_path: Path) -> None:
    peer = Peer(tmp_path / "a.sock", greeted(signed))
    with load.start(tmp_path / "a.sock", TEMPLATE, 1, seconds=60, warm=0) as running:
        running.wait_measuring()
        sample = running.stop()
    peer.close()
    assert sample.seconds < 30
    assert sample.failures == 0


def test_the_last_answer_is_kept_for_verification(load: Load, run: Runner) -> None:
    run(greeted(signed))
    assert msgspec.msgpack.decode(load.kept())["result"] == RECEIPT


def test_a_stall_shows_in_p99_by_time_though_not_in_p99(load: Load, tmp_path: Path) -> None:
    pause, turns = threading.Event(), iter(range(1 << 30))

    def once_slow(message: dict[str, object]) -> bytes:
        if next(turns) == 100:
            pause.wait(0.4)
        return signed(message)

    peer = Peer(tmp_path / "a.sock", greeted(once_slow))
    sample = load.run(tmp_path / "a.sock", TEMPLATE, 1, seconds=2, warm=0)
    peer.close()
    assert sample.requests > 200
    assert sample.p99_us < 400_000 <= sample.p99_by_time_us


def test_a_plain_frame_needs_no_hello_and_no_id(run: Runner) -> None:
    template = Template(request=b"\0\0\0\x0dc0ffee000000!", expectations=(Expectation(b"ok"),), counters=(4,))
    sample, peer = run(lambda body: b"\0\0\0\x02ok", template=template)
    assert sample.failures == 0
    assert len(set(peer.bodies)) == len(peer.bodies) == sample.answered
    assert all(body.endswith(b"!") for body in peer.bodies)
