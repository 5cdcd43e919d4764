"""One run of the benchmark: its peers, started as rows need them, and how one sample is taken."""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.caller import Caller, CallFailed, verify_bundle
from bench.load import Load, LoadFailed, PartMissing, Sample, explain
from bench.peers import Agent, Daemon, Peer, PeerFailed
from bench.processes import Usage, cpu_seconds, tree, usages
from bench.rows import Row, Unmeasured
from bench.templates import Template

__all__ = ["FULL", "KEY", "QUICK", "Plan", "Run", "Taken", "say"]

KEY = "file:default"
T = TypeVar("T")
P = TypeVar("P", Agent, Daemon)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often: a sample's seconds, its warm-up, the pairs a row."""

    seconds: float
    warm: float
    pairs: int


FULL = Plan(seconds=2.0, warm=0.5, pairs=5)
QUICK = Plan(seconds=1.0, warm=0.3, pairs=2)


def say(line: str) -> None:
    """Progress, on stderr: stdout has the table alone."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample with what the peer's processes used: memory in its middle, CPU seconds over all of it."""

    sample: Sample
    memory: list[Usage]
    cpu_s: dict[str, float]


@dataclass(slots=True)
class Run:
    """The peers as they are needed, the rows as they come. A part that failed fails each row alike."""

    plan: Plan
    directory: Path
    stack: ExitStack
    rows: list[Row] = field(default_factory=list)
    skipped: list[Unmeasured] = field(default_factory=list)
    _load: Load | Exception | None = None
    _agent: Agent | Exception | None = None
    _daemon: Daemon | Exception | None = None

    def load(self) -> Load:
        """The load generator, compiled at first use."""
        if self._load is None:
            self._load = _attempt(lambda: Load(self.directory))
        return _or_raise(self._load)

    def agent(self) -> Agent:
        """The one ssh-agent of this run."""
        if self._agent is None:
            self._agent = _attempt(lambda: self._kept_running(Agent))
        return _or_raise(self._agent)

    def daemon(self) -> Daemon:
        """The one signerd of the rows that only load it."""
        if self._daemon is None:
            self._daemon = _attempt(lambda: self._kept_running(Daemon))
        return _or_raise(self._daemon)

    @contextmanager
    def fresh_daemon(
        self, config: str | None = None, prepare: Callable[[Path], object] | None = None
    ) -> Iterator[Daemon]:
        """A signerd with a new state directory and a new key, gone at the end; by the text `config` if there is one.

        `prepare` makes the state directory that it finds.
        """
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            if prepare is not None:
                prepare(Path(directory) / "state")
            daemon = Daemon(Path(directory), config)
            try:
                yield daemon
            finally:
                daemon.stop()

    def take(self, peer: Peer, template: Template, connections: int) -> Taken:
        """One sample of a peer under `connections` closed loops."""
        before = {pid: cpu_seconds(pid) for pid in tree(peer.pid)}
        loaded: list[Usage] = []
        middle = threading.Timer(
            self.plan.warm + self.plan.seconds / 2, lambda: loaded.extend(usages(peer.pid))
        )
        middle.start()
        try:
            sample = self.load().run(peer.socket, template, connections, self.plan.seconds, self.plan.warm)
        finally:
            middle.join()
        spent: dict[str, float] = {}
        for pid, role in tree(peer.pid).items():
            spent[role] = spent.get(role, 0.0) + cpu_seconds(pid) - before.get(pid, 0.0)
        say(f"  {peer.name:<10}{connections:>3} conns {sample.rate:9,.0f}/s   p99 {sample.p99_us:9,.0f} µs")
        if sample.failures:
            say(f"  {sample.failures} failures; the first: {explain(sample)}")
        return Taken(sample, loaded, spent)

    def verify_last(self, daemon: Daemon, *keys: str) -> None:
        """Verify the bundles of the last answer that the load generator got, one by each of `keys` (none: the default
        key); raises where one fails."""
        result = msgspec.msgpack.decode(self.load().kept())["result"]
        signed = [outcome["ok"] for outcome in result["outcomes"]] if "outcomes" in result else [result]
        with Caller(daemon.socket) as caller:
            spkis = [caller.call("keys.describe", {"key": key})["spki"] for key in keys or (KEY,)]
        for answer in signed:
            if len(answer["bundles"]) != len(spkis):
                raise CallFailed("an answer without exactly one bundle by each key")
            for bundle, spki in zip(answer["bundles"], spkis, strict=True):
                verify_bundle(bundle, spki)

    def _kept_running(self, kind: Callable[[Path], P]) -> P:
        peer = kind(Path(tempfile.mkdtemp(dir=self.directory)))
        self.stack.callback(peer.stop)
        return peer


def _attempt(make: Callable[[], T]) -> T | Exception:
    try:
        return make()
    except (LoadFailed, PartMissing, PeerFailed) as failed:
        return failed


def _or_raise(part: T | Exception) -> T:
    if isinstance(part, Exception):
        raise part
    return part
