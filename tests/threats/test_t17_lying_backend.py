"""T17: a backend returns another key's signature, an altered one, late, huge, twice, never; it forks, leaks, prints.

The sealer's own loop runs here with real worker processes; each lies in one way when it is asked to sign.
"""

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.distributions import install
from fakes.front_end import LyingProcess, leaves_of
from fakes.links import Peer
from fakes.lying_worker import MODES
from running.configured import until
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP
from signerd.host.supervision import BACKOFF_FIRST, BACKOFF_LONGEST
from signerd.verification.bundle import verify_bundle
from signerd.verification.keys import PublicKey
from signerd.wire.links import LINK_VERSION, Close, CloseMany, Open, Opened, SealMany, SealOutcome

FAULT, DOWN = "key.backend_fault", "key.backend_unavailable"
SAID = {
    "hang": DOWN,
    "crash": DOWN,
    "late": DOWN,
    "wrong_key": FAULT,
    "stolen_id": FAULT,
    "altered": FAULT,
    "other_message": FAULT,
    "truncated": FAULT,
    "empty": FAULT,
    "oversize": DOWN,
    "huge": FAULT,
    "foreign": DOWN,
    "garbage": DOWN,
    "missing": FAULT,
    "surplus": FAULT,
    "both": FAULT,
    "code": FAULT,
    "descriptor": DOWN,
    "forks": DOWN,
    "escapes": DOWN,
}
"""The code that the caller is told, by the way in which the worker lies."""
HARMLESS = {"honest", "noise", "twice", "leaves"}
"""These sign as they should; ``twice`` is taken down for the second answer."""
ALIVE = {"honest", "noise", "late", "code", "hang"}
"""One missed deadline may be the host's fault, and a code is no danger: the worker goes on."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LyingProcess]]:
    made: list[LyingProcess] = []

    def begin(mode: str, deadline_s: float = 5.0) -> LyingProcess:
        process = LyingProcess(tmp_path / "state", mode, deadline_s=deadline_s)
        made.append(process)
        process.front_end.send(Open(LINK_VERSION, "test"))
        process.step_until(lambda: process.front_end.got(Opened))
        assert set(process.front_end.ring) == {"liar:key", "honest:key"}
        return process

    yield begin
    for process in made:
        process.close()


def ask(process: LyingProcess, *keys: str) -> list[SealOutcome]:
    """Seal with each key in one frame, and wait for all."""
    items = [process.front_end.item(key) for key in keys]
    process.front_end.send(SealMany(tuple(items)))
    process.step_until(lambda: all(item.audit_id in process.front_end.outcomes() for item in items))
    return [process.front_end.outcomes()[item.audit_id] for item in items]


def released(process: LyingProcess, outcome: SealOutcome, key: str) -> bool:
    """Whether a signature was released, and if so that it is the key's."""
    if outcome.ok is None:
        return False
    (signature,) = outcome.ok.signatures
    assert isinstance(signature.bundle, bytes)
    public = PublicKey.from_spki(process.front_end.ring[key].spki)
    return verify_bundle(signature.bundle, public).verified


def test_every_way_of_lying_is_tried() -> None:
    assert {*SAID, *HARMLESS} == set(MODES)


@pytest.mark.parametrize("mode", sorted(SAID))
def test_a_lie_is_a_typed_error_and_others_are_unaffected(start: Callable[..., LyingProcess], mode: str) -> None:
    process = start(mode, 0.2 if mode in ("hang", "late") else 5.0)
    (spawned,) = process.started
    lied, honest = ask(process, "liar:key", "honest:key")
    assert lied.ok is None
    assert lied.error is not None
    assert lied.error.code == SAID[mode]
    assert lied.recorded
    assert released(process, honest, "honest:key")
    if mode not in ALIVE:
        process.step_until(lambda: spawned.status is not None)
        assert spawned.status == -signal.SIGKILL
        liar = process.backends["liar"]
        assert not liar.up
        assert released(process, ask(process, "honest:key")[0], "honest:key")
        look = liar.next_look()
        assert look is None or look > 0
        process.step_until(lambda: len(process.started) == 2 and liar.up)
    process.sealing.give_up()
    ends = {leaf["audit_id"]: leaf["outcome"] for leaf in leaves_of(process._state) if leaf["kind"] == "outcome"}
    assert ends[lied.audit_id] == "fault"


@pytest.mark.parametrize("mode", sorted(HARMLESS))
def test_what_signs_rightly_is_released_whatever_else_it_does(
    start: Callable[..., LyingProcess], mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    process = start(mode)
    (spawned,) = process.started
    for _ in range(3 if mode != "twice" else 1):
        (outcome,) = ask(process, "liar:key")
        assert released(process, outcome, "liar:key")
        process.front_end.send(CloseMany((Close(outcome.audit_id, "signed"),)))
    if mode == "twice":
        process.step_until(lambda: spawned.status is not None)
    else:
        assert spawned.status is None
    assert ("noise" in capfd.readouterr().err) == (mode == "noise"), "it floods the log, not a protocol"


def left(said: str) -> list[int]:
    """The processes that a worker has left behind, by what they say."""
    return [int(number) for number in re.findall(r"^left: ([0-9]+)$", said, re.MULTILINE)]


@pytest.mark.parametrize("mode", ["forks", "escapes"])
def test_a_grandchild_that_holds_the_link_keeps_nobody_waiting(
    start: Callable[..., LyingProcess], mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    process = start(mode, 60.0)
    (spawned,) = process.started
    (outcome,) = ask(process, "liar:key")
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.reason) == (DOWN, "worker_died"), "its end is seen, not the link's"
    assert spawned.status == -signal.SIGKILL
    process.step_until(lambda: len(process.started) == 2 and process.backends["liar"].up)
    (grandchild,) = left(capfd.readouterr().err)
    until(lambda: not running(grandchild))


def test_a_worker_that_is_ended_is_not_waited_for_by_what_it_left(
    start: Callable[..., LyingProcess], capfd: pytest.CaptureFixture[str]
) -> None:
    process = start("leaves")
    assert released(process, ask(process, "liar:key")[0], "liar:key")
    (spawned,) = process.started
    os.kill(spawned.pid, signal.SIGSTOP)  # it does not end by itself
    process.backends["liar"].close(0.1)
    assert spawned.status == -signal.SIGKILL
    (grandchild,) = left(capfd.readouterr().err)
    until(lambda: not running(grandchild))


def running(pid: int) -> bool:
    """Whether the process is there and no zombie: it may have been given to a parent that reaps late."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


LEAKY = """
import os
from signerd.contracts import hookimpl
from signerd.contracts.values import KeyDescription, SignatureResult
SPKI = bytes.fromhex({spki!r})
KEYID = {keyid!r}
class Leaky:
    capabilities = ()
    def describe(self, key):
        return KeyDescription("Ed25519", KEYID, SPKI)
    def sign(self, key, message):
        print("signing")
        os.write(1, b"signing, once more")
        os.open("/dev/null", os.O_RDONLY)
        return SignatureResult(bytes(64), KEYID)
@hookimpl
def signerd_key_backends(settings):
    return Leaky()
"""


@pytest.fixture
def start_leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Peer]]:
    """Starts the real key worker, with a backend that leaks a descriptor by each signature, and prints."""
    public = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    code = LEAKY.format(spki=spki.hex(), keyid=PublicKey.from_spki(spki).keyid)
    site = tmp_path / "site"
    site.mkdir(mode=0o755)
    files = {"signerd_leaky_backend.py": code}
    install(site, "signerd-leaky-backend", files, {KEY_BACKENDS_GROUP: {"leaky": "signerd_leaky_backend"}})
    old = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([old] if old else [])]))
    started: list[Peer] = []

    def begin() -> Peer:
        started.append(Peer("signerd.worker.key", {"scheme": "leaky", "name": "leaky"}))
        started[0].hello()
        return started[0]

    yield begin
    for worker in started:
        worker.close()


def test_a_backend_that_leaks_descriptors_is_named_and_prints_into_no_answer(
    start_leaky: Callable[[], Peer], capfd: pytest.CaptureFixture[str]
) -> None:
    leaky = start_leaky()
    _, hard = resource.prlimit(leaky.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(leaky.process.pid, resource.RLIMIT_NOFILE, (32, hard))
    params = {"key": "leaky:x", "message": b"m"}
    signed = 0
    while True:
        (outcome,) = leaky.ask("batch", {"items": [{"method": "sign", "params": params}]})["result"]["outcomes"]
        if "error" in outcome:
            break
        signed += 1
        assert signed < 32
    assert signed > 10
    error = outcome["error"]
    assert (error["code"], error["reason"]) == (FAULT, "plugin_failed")
    assert error["operator"].startswith("key_backend(leaky): OSError: [Errno 24] Too many open files")
    # It still answers what needs none.
    assert leaky.ask("describe", {"key": "leaky:x"})["result"]["algorithm"] == "Ed25519"
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("signing, once more") >= signed, said.err


def test_a_late_answer_is_dropped_and_the_next_one_is_its_own(start: Callable[..., LyingProcess]) -> None:
    process = start("late", 0.2)  # the worker sleeps 0.3 s
    (late,) = ask(process, "liar:key")
    assert late.error is not None
    assert (late.error.code, late.error.reason) == (DOWN, "call_deadline")
    backend = process.backends["liar"]
    process.step_until(lambda: not backend._late)
    assert backend.up
    assert process.front_end.outcomes()[late.audit_id].ok is None
    assert len(process.started) == 1


def test_two_missed_deadlines_in_a_row_take_the_worker_down(start: Callable[..., LyingProcess]) -> None:
    process = start("hang", 0.1)
    (spawned,) = process.started
    for _ in range(2):
        (outcome,) = ask(process, "liar:key")
        assert outcome.error is not None
        assert outcome.error.code == DOWN
    process.step_until(lambda: spawned.status is not None)
    assert spawned.status == -signal.SIGKILL


def test_a_liar_comes_back_more_and_more_slowly(start: Callable[..., LyingProcess]) -> None:
    process = start("altered")
    backend = process.backends["liar"]
    delays = []
    for _ in range(4):
        died = process._clock.monotonic()
        backend.condemn("it lies")
        look = backend.next_look()
        assert look is not None
        delays.append(look - died)
        started = len(process.started)
        process.step_until(lambda started=started: len(process.started) > started and backend.up)  # type: ignore[misc]
    assert delays == sorted(delays)
    assert delays[0] >= BACKOFF_FIRST * 0.9
    assert delays[3] > 2 * delays[1]
    assert delays[3] <= BACKOFF_LONGEST
