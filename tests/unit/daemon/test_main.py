import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from running.client import SBOM, Client, memfd
from running.configured import configuration
from running.daemon import Running
from signerd.daemon import main
from signerd.daemon.main import MOST_OPEN, Daemon
from signerd.errors import Refusal
from signerd.host.config import parse


async def test_the_document_worker_gets_the_plugins_with_predicates_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no key and decides nothing: no other plugin has any business there (T21)."""
    started: list[Any] = []

    def spawn(module: str, *, settings: bytes) -> None:
        started.append((module, json.loads(settings)))

    monkeypatch.setattr(main, "spawn", spawn)
    text = configuration(tmp_path, {}).replace('[plugins.predicates-intoto]\ncertificate = "none"\n', "")
    text += '[plugins.predicates-intoto]\ncertificate = "none"\n'
    config = parse(text, str(tmp_path / "signerd.toml"), state=tmp_path / "state", socket=tmp_path / "s")
    (tmp_path / "signerd.toml").write_text(text)
    async with trio.open_nursery() as nursery:
        daemon = Daemon(config, nursery)
        try:
            daemon._start_documents()
        finally:
            daemon.process.kill()
    ((module, settings),) = started
    assert module == "signerd.worker.document"
    assert list(settings["plugins"]) == ["predicates-stella", "predicates-intoto"]
    assert settings["development"] is False


def test_several_errors_at_once_are_told_as_the_one_that_matters() -> None:
    locked = Refusal("state.locked", "locked", "locked")
    group = BaseExceptionGroup("a", [BaseExceptionGroup("b", [locked])])
    assert main._first(group) is locked
    assert main._first(BaseExceptionGroup("a", [locked, KeyError("of trio's other tasks")])) is locked
    two = BaseExceptionGroup("a", [locked, Refusal("state.locked", "bind", "bind")])
    assert isinstance(main._first(two), BaseExceptionGroup)


def test_it_raises_its_limit_of_descriptors(daemon: Running) -> None:
    lines = Path(f"/proc/{daemon.pid}/limits").read_text().splitlines()
    soft, hard = next(line for line in lines if line.startswith("Max open files")).split()[3:5]
    assert int(soft) == max(min(int(hard), MOST_OPEN), int(soft))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_that_it_started(
    daemon_factory: Callable[..., Running], sbom: dict[str, Any], number: signal.Signals
) -> None:
    daemon = daemon_factory()
    with Client(daemon.socket) as client:
        client.greet()
        document = memfd(SBOM)
        client.result("sign.dsse", {**sbom, "predicate": {"fd": 0, "size": len(SBOM)}}, [document])
        os.close(document)
    children = daemon.children()
    assert set(children) == {"sealer", "key", "document"}
    os.kill(daemon.pid, number)
    assert daemon._process.wait(20) == 0
    assert not [pid for pid in children.values() if Path(f"/proc/{pid}").exists()]
    assert not daemon.socket.exists()


def test_what_it_cannot_start_for_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    squatted = tmp_path / "s"
    squatted.write_bytes(b"no socket")
    command = [
        str(Path(sys.executable).parent / "signerd"),
        "serve",
        "--state",
        str(tmp_path / "state"),
        "--socket",
        str(squatted),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "is there and is no socket" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert squatted.read_bytes() == b"no socket"
