import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from fakes.front_end import FrontEnd, LyingProcess, SealerProcess, leaves_of
from signerd import __version__
from signerd.wire.backends import BackendChanged
from signerd.wire.links import (
    LINK_VERSION,
    Answer,
    Close,
    CloseMany,
    Failed,
    Open,
    Opened,
    PeerFacts,
    Query,
    Recorded,
    RefusedRecord,
    RefuseMany,
    RequestFacts,
    SealMany,
)

REQUEST = RequestFacts("sign.dsse", PeerFacts(1000, 1), "local", "uid:1000")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., SealerProcess]]:
    made: list[SealerProcess] = []

    def begin(state: Path = tmp_path / "state") -> SealerProcess:
        made.append(SealerProcess(state))
        return made[-1]

    yield begin
    for sealer in made:
        sealer.close()


def logged(state: Path) -> list[str]:
    return [":".join(filter(None, (leaf["kind"], leaf.get("outcome", "")))) for leaf in leaves_of(state)]


def test_it_opens_with_what_a_front_end_decides_by(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    (opened,) = sealer.got(Opened)
    assert [entry.key for entry in opened.ring] == ["file:default"]
    assert [(backend.name, backend.scheme, backend.up) for backend in opened.backends] == [("file", "file", True)]
    assert opened.daily == {}
    assert opened.separation == "process"
    (outcome,) = sealer.seal(sealer.item())
    sealer.send(CloseMany((Close(outcome.audit_id, "signed"),)))
    sealer.close()
    again = start()
    again.open()
    assert again.got(Opened)[0].daily == {"local": 1}
    assert again.got(Opened)[0].ring == opened.ring


def test_its_start_is_a_leaf_with_every_plugin(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    first = leaves_of(sealer.state)[0]
    assert (first["kind"], first["version"]) == ("start", __version__)
    names = [plugin["name"] for plugin in first["plugins"]]
    assert len(names) == 6
    assert {"signerd-key-file", "signerd-auth-peercred"} <= set(names)
    assert all(plugin["digest"].startswith("sha256:") for plugin in first["plugins"])


def test_an_outcome_is_written_although_nothing_else_comes(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    (outcome,) = sealer.seal(sealer.item())
    sealer.send(CloseMany((Close(outcome.audit_id, "signed"),)))
    with contextlib.closing(sqlite3.connect(f"file:{sealer.state}/audit.sqlite?mode=ro", uri=True)) as database:
        deadline = time.monotonic() + 10
        while not database.execute("SELECT count(*) FROM leaves WHERE outcome = 'signed'").fetchone()[0]:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_refusal_is_acknowledged_once_it_is_durable(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    sealer.send(RefuseMany((RefusedRecord("r1", REQUEST, "refused", "quota.rate", "rate"),)))
    sealer.wait(lambda: sealer.got(Recorded))
    assert sealer.got(Recorded) == [Recorded(("r1",))]
    assert logged(sealer.state)[-1] == "refused:refused"


def test_the_log_is_read_by_tenant(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    sealer.seal(sealer.item(audit_id="a1"))
    sealer.send(
        Query(1, "local", {"audit_id": "a1"}, 0, 10), Query(2, "other", {}, 0, 10), Query(3, "local", {"x": "y"}, 0, 1)
    )
    sealer.wait(lambda: len(sealer.got(Answer)) == 3)
    answers = {answer.id: answer for answer in sealer.got(Answer)}
    assert [msgspec.json.decode(leaf)["audit_id"] for leaf in answers[1].records] == ["a1"]
    assert answers[2].records == ()
    error = answers[3].error
    assert error is not None
    assert (error.code, error.reason) == ("request.unsupported", "filter_unknown")


def test_a_read_that_fails_is_answered_too(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    moved = sealer.state / "moved"
    (sealer.state / "audit.sqlite").rename(moved)
    sealer.send(Query(1, "local", {}, 0, 10))
    sealer.wait(lambda: sealer.got(Answer))
    error = sealer.got(Answer)[0].error
    assert error is not None
    assert error.code == "audit.unavailable"
    moved.rename(sealer.state / "audit.sqlite")


def test_when_the_front_end_goes_everything_is_closed_and_the_workers_end(
    start: Callable[..., SealerProcess],
) -> None:
    sealer = start()
    sealer.open()
    sealer.seal(sealer.item())
    worker = children(sealer.process.pid)
    assert len(worker) == 1
    sealer.send(SealMany((sealer.item(), sealer.item())))
    sealer.link.shutdown(2)
    assert sealer.status() == 0
    assert not os.path.exists(f"/proc/{worker[0]}")
    ends = [kind for kind in logged(sealer.state) if kind != "decided"]
    assert [kind for kind in ends if kind.startswith("outcome")] == ["outcome:unknown"] * 3


def test_what_a_crash_left_open_is_closed_before_anything_else(start: Callable[..., SealerProcess]) -> None:
    first = start()
    first.open()
    first.seal(first.item(), first.item())
    os.kill(first.process.pid, signal.SIGKILL)
    first.status()
    assert logged(first.state)[-2:] == ["decided", "decided"]
    second = start()
    second.open()
    assert logged(second.state)[-5:] == ["decided", "decided", "outcome:unknown", "outcome:unknown", "start"]
    (again,) = second.seal(second.item(audit_id="later"))
    assert again.ok is not None


def test_a_second_sealer_on_one_state_says_why_it_cannot(start: Callable[..., SealerProcess]) -> None:
    first = start()
    first.open()
    second = start()
    second.open()
    (failed,) = second.got(Failed)
    assert failed.error.code == "state.locked"
    assert second.status() == 1
    (outcome,) = first.seal(first.item())
    assert outcome.ok is not None


def test_so_does_one_whose_log_cannot_be_read(start: Callable[..., SealerProcess], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "audit.sqlite").write_bytes(b"not a database" * 1000)
    (state / "audit.sqlite").chmod(0o600)
    sealer = start()
    sealer.open()
    (failed,) = sealer.got(Failed)
    assert failed.error.code == "audit.unavailable"
    assert str(state) not in failed.error.message
    assert sealer.status() == 1


def test_signals_of_a_terminal_do_not_end_it(start: Callable[..., SealerProcess]) -> None:
    sealer = start()
    sealer.open()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(sealer.process.pid, number)
    (outcome,) = sealer.seal(sealer.item())
    assert outcome.ok is not None


def test_the_front_end_hears_of_workers_that_go_and_come(tmp_path: Path) -> None:
    process = LyingProcess(tmp_path / "state", "crash")
    front: FrontEnd = process.front_end
    front.send(Open(LINK_VERSION, "test"))
    process.step_until(lambda: front.got(Opened))
    front.send(SealMany((front.item("liar:key"),)))
    process.step_until(lambda: len(front.got(BackendChanged)) == 2)
    assert [(c.backend.name, c.backend.up) for c in front.got(BackendChanged)] == [("liar", False), ("liar", True)]
    process.close()


def test_it_takes_no_other_arguments() -> None:
    # In a process of its own: it ignores signals and hardens itself, which this one's children would inherit.
    command = [sys.executable, "-m", "signerd.sealer.main", "--fd", "three"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "invalid int value" in ended.stderr


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found
