import socket
import threading
from pathlib import Path

import pytest

from running.daemon import Running
from signerd.errors import Fault, Refusal
from signerd.wire.methods import DaemonHealth
from signerd.wire.params import KeysDescribe, NoParams
from signerd_conformance.one_request import ask


def test_a_question_and_a_refusal(daemon: Running) -> None:
    answer = ask(daemon.socket, "daemon.health", NoParams(), 20)
    assert isinstance(answer, DaemonHealth)
    assert answer.ready
    with pytest.raises(Refusal) as refused:
        ask(daemon.socket, "keys.describe", KeysDescribe("file:absent"), 20)
    assert refused.value.code == "key.not_found"


@pytest.mark.parametrize(
    ("said", "reason"), [(b"", "protocol"), (b"\x00\x00\x00\x04nope", "protocol"), (None, "no_answer")]
)
def test_who_is_no_daemon(tmp_path: Path, said: bytes | None, reason: str) -> None:
    path = tmp_path / "sock"
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as connected:
                if said is None:
                    over.wait(20)
                else:
                    connected.sendall(said)
                    connected.shutdown(socket.SHUT_WR)
                    connected.recv(1024)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(Fault) as failed:
                ask(path, "daemon.health", NoParams(), 0.5 if said is None else 20)
        finally:
            over.set()
            thread.join(20)
    assert failed.value.reason == reason


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Fault) as failed:
        ask(tmp_path / "absent", "daemon.health", NoParams(), 5)
    assert (failed.value.code, failed.value.reason) == ("internal", "protocol")
