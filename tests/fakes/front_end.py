"""A front end's end of the sealer's link, for a test to hold: honest, or as an attacker would use it."""

import contextlib
import json
import os
import select
import socket
import sqlite3
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fakes.sealing import TENANT
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.contracts.services import Clock
from signerd.host.clock import SystemClock
from signerd.host.config import embedded, encode
from signerd.host.config_model import Backend as ConfiguredBackend
from signerd.host.config_model import Config, Key, Tenant
from signerd.host.link import Link
from signerd.host.spawn import Spawned, spawn
from signerd.sealer.backends import BackendSpec
from signerd.sealer.lock import prepare_state
from signerd.sealer.main import Process
from signerd.wire.backends import BackendChanged
from signerd.wire.frames import FrameReader, encode_frame
from signerd.wire.links import (
    LINK_VERSION,
    AdminAnswer,
    AdminCall,
    Answer,
    DecisionFacts,
    Failed,
    KeyUse,
    Open,
    Opened,
    PeerFacts,
    Recorded,
    ReleaseFacts,
    RequestFacts,
    SealedMany,
    SealItem,
    SealMany,
    SealOutcome,
)
from signerd.wire.params import Descriptor
from signerd.wire.ring import AbsentKeys, GrantsChanged, RingChanged, RingEntry

__all__ = ["STATEMENT", "FrontEnd", "LyingProcess", "SealerProcess", "leaves_of", "two_backends"]

SECONDS = 20
STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://example.org/p",'
    b'"subject":[{"digest":{"sha256":"' + b"c" * 64 + b'"},"name":"s"}]}'
)
TESTS = str(Path(__file__).parent.parent)
M = TypeVar("M", bound=msgspec.Struct)
_decode = msgspec.msgpack.Decoder(
    Opened
    | SealedMany
    | Recorded
    | Answer
    | AdminAnswer
    | RingChanged
    | GrantsChanged
    | BackendChanged
    | AbsentKeys
    | Failed
).decode


def leaves_of(state: Path) -> list[dict[str, Any]]:
    """All leaves of a log, oldest first."""
    with contextlib.closing(sqlite3.connect(f"file:{state}/audit.sqlite?mode=ro", uri=True)) as database:
        return [json.loads(row[0]) for row in database.execute("SELECT leaf FROM leaves ORDER BY leaf_index")]


class FrontEnd:
    """One end of the link, blocking with a deadline. ``said`` is all that the sealer has sent."""

    def __init__(self, connection: socket.socket) -> None:
        self.link = connection
        self.said: list[msgspec.Struct] = []
        self.ring: dict[str, RingEntry] = {}
        self._reader = FrameReader(64 << 20)
        self._ids = 0

    def send(self, *messages: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        self.send_bytes(b"".join(encode_frame(message) for message in messages), fds)

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        self.link.setblocking(True)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sent = self.link.sendmsg([data], rights)
            self.link.sendall(data[sent:])

    def take(self) -> bool:
        """Take what has arrived; False at the end of the link."""
        self.link.setblocking(False)
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.link, 1 << 20, 64)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            for fd in fds:
                os.close(fd)
            if not data:
                return False
            self._reader.feed(data)
            while (found := self._reader.next_frame()) is not None:
                message = _decode(found[0])
                self.said.append(message)
                if isinstance(message, Opened | RingChanged):
                    self.ring |= {entry.key: entry for entry in message.ring}

    def wait(self, true: Callable[[], object]) -> None:
        """Wait for what the sealer says; fails where the link ends before."""
        while not true():
            assert select.select([self.link], [], [], SECONDS)[0], self.said
            assert self.take() or true(), self.said

    def ended(self) -> bool:
        """Wait for the end of the link; True when it has ended."""
        while select.select([self.link], [], [], SECONDS)[0]:
            if not self.take():
                return True
        return False

    def open(self) -> None:
        """Open the link and wait for the answer."""
        self.send(Open(LINK_VERSION, "test"))
        self.wait(lambda: self.got(Opened) or self.got(Failed))

    def got(self, kind: type[M]) -> list[M]:
        return [message for message in self.said if isinstance(message, kind)]

    def outcomes(self) -> dict[str, SealOutcome]:
        return {outcome.audit_id: outcome for many in self.got(SealedMany) for outcome in many.outcomes}

    def item(self, key: str = "file:default", payload: bytes | Descriptor = STATEMENT, **changes: Any) -> SealItem:
        """An item as an honest front end makes it; ``changes`` are fields."""
        self._ids += 1
        entry = self.ring[key]
        use = KeyUse(key, "tenant_default", entry.keyid, entry.version)
        fields: dict[str, Any] = {
            "audit_id": f"id{self._ids}",
            "request": RequestFacts("sign.dsse", PeerFacts(1000, 4242), entry.tenant, "uid:1000"),
            "decision": DecisionFacts("uid:1000", entry.tenant, "embedded", ReleaseFacts("asserted"), (use,)),
            "payload_type": PAYLOAD_TYPE,
            "payload": payload,
            "deadline_ms": 30_000,
            **changes,
        }
        return SealItem(**fields)

    def administer(self, method: str, uid: int | None = None, **params: object) -> AdminAnswer:
        """Call a method of the admin plane, and wait for its end."""
        self._ids += 1
        uid = os.geteuid() if uid is None else uid
        self.send(AdminCall(self._ids, method, msgspec.msgpack.encode(params), uid, 1 << 20))
        self.wait(lambda: any(answer.id == self._ids for answer in self.got(AdminAnswer)))
        return next(answer for answer in self.got(AdminAnswer) if answer.id == self._ids)

    def seal(self, *items: SealItem) -> list[SealOutcome]:
        """Have items sealed, and wait for their outcomes."""
        self.send(SealMany(items))
        self.wait(lambda: all(item.audit_id in self.outcomes() for item in items))
        return [self.outcomes()[item.audit_id] for item in items]


class SealerProcess(FrontEnd):
    """A sealer as the daemon starts it: a process with a key of its own, in ``state``."""

    def __init__(self, state: Path, config: Config | None = None) -> None:
        self.state = state
        made = config or embedded(state, state.parent / "run" / "sign.sock")
        self.process: Spawned = spawn("signerd.sealer.main", settings=encode(made))
        super().__init__(self.process.socket)

    def status(self) -> int | None:
        """Wait for the process's end."""
        assert select.select([self.process.pidfd], [], [], SECONDS)[0]
        assert self.process.reap()
        return self.process.status

    def close(self) -> None:
        self.process.end(5)


def two_backends(state: Path, deadline_s: float = 5.0) -> Config:
    """Two tenants with a key and a backend each: ``liar:key`` of TENANT, ``honest:key`` of ``other``."""
    made = embedded(state, state.parent / "run" / "sign.sock")
    backends = (
        ConfiguredBackend("liar", "liar", "none", call_deadline_s=deadline_s),
        ConfiguredBackend("honest", "honest", "none", call_deadline_s=deadline_s),
    )
    keys = (Key("liar:key", "liar", TENANT), Key("honest:key", "honest", "other"))
    tenants = (Tenant(TENANT, ("liar:key",), "liar:key"), Tenant("other", ("honest:key",), "honest:key"))
    return msgspec.structs.replace(made, backends=backends, keys=keys, tenants=tenants)


class LyingProcess(Process):
    """The sealer's real loop, stepped by the test, with ``tests/fakes/lying_worker.py`` for key workers."""

    def __init__(self, state: Path, mode: str, *, deadline_s: float = 5.0, clock: Clock | None = None) -> None:
        self.mode = mode
        self.started: list[Spawned] = []
        prepare_state(state)
        theirs, ours = socket.socketpair()
        super().__init__(two_backends(state, deadline_s), Link(theirs), clock or SystemClock(), state)
        self.front_end = FrontEnd(ours)

    def _spec(self, configured: ConfiguredBackend) -> BackendSpec:
        name = configured.name

        def start() -> Spawned:
            mode = self.mode if name == "liar" else "honest"
            args = ["--mode", mode, "--delay", "0.3"]
            spawned = spawn("fakes.lying_worker", args, environment={"PYTHONPATH": TESTS})
            if name == "liar":
                self.started.append(spawned)
            return spawned

        return replace(super()._spec(configured), start=start)

    def step_until(self, true: Callable[[], object]) -> None:
        """Run the loop until something holds; each turn waits for the next event."""
        clock = SystemClock()
        limit = clock.monotonic() + SECONDS
        while not true():
            assert clock.monotonic() < limit, self.front_end.said
            self._turn()
            self.front_end.take()

    def close(self) -> None:
        self.sealing.give_up()
        for backend in self.backends.values():
            backend.close(0.0)
        self.front_end.link.close()
        self._link.close()
        self._aside.close()
        self._store.close()
        self._ring_store.close()
        self._approvals.close()
