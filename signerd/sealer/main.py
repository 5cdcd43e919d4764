"""The sealer's process: ``python -m signerd.sealer.main --fd N``, its configuration on standard input.

A synchronous loop around :class:`~signerd.sealer.seal.Sealing`: one poll, then everything that is there, then one
commit. It opens no network socket and parses no caller's bytes.
"""

import argparse
import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from signerd import __version__
from signerd.contracts.services import Clock
from signerd.errors import SignerdError
from signerd.host.clock import SystemClock
from signerd.host.config import decode, load
from signerd.host.config_model import Backend as ConfiguredBackend
from signerd.host.config_model import Config
from signerd.host.hardening import harden
from signerd.host.link import Link, LinkBroken, LinkClosed
from signerd.sealer.admin import AdminDesk
from signerd.sealer.approvals import ApprovalLedger
from signerd.sealer.aside import Aside
from signerd.sealer.audit import AuditReader, SqliteAuditStore
from signerd.sealer.backends import Backend, BackendSpec
from signerd.sealer.checkpoint import Checkpoints
from signerd.sealer.entries import EntryDesk
from signerd.sealer.front import Front, answer_of
from signerd.sealer.grants import Grants
from signerd.sealer.job import Violation
from signerd.sealer.keyring import Keyring
from signerd.sealer.leaves import outcome_leaf, start_leaf
from signerd.sealer.life import Life
from signerd.sealer.lock import StateLock, prepare_state
from signerd.sealer.lookups import Lookups, begun
from signerd.sealer.macs import MacSealing
from signerd.sealer.news import News
from signerd.sealer.plugins import certified, plugin_facts
from signerd.sealer.presence import Presence
from signerd.sealer.publishing import publisher_spec, publishing_of, said
from signerd.sealer.ring import FILE_NAME as RING_FILE
from signerd.sealer.ring import RingStore
from signerd.sealer.seal import Sealing
from signerd.sealer.specs import key_specs
from signerd.sealer.starters import backend_spec
from signerd.sealer.versions import Versions
from signerd.wire.frames import encode_frame
from signerd.wire.links import AdminAnswer, Answer, Failed, Query, StillVerifying
from signerd.wire.worker_calls import CallError

__all__ = ["Process", "main"]

_log = logging.getLogger("signerd.sealer")

DAY_MS = 86_400_000
POLLIN, POLLOUT = select.POLLIN, select.POLLOUT
SWITCH_S = 0.00005
"""Seconds after which a thread that works aside must give the interpreter's lock to the loop. With the usual 5 ms a
request beside a large payload would wait so long at each of its system calls."""
COPY_NICE = 10
T = TypeVar("T")
OPEN_LIMIT_S = 5.0
"""Seconds after which ``opened`` is sent although a backend has not said whether it works: others need not wait."""


class Process:
    """The composition root of the sealer, and its loop."""

    def __init__(
        self, config: Config, link: Link, clock: Clock, state: Path, admins: Collection[int] | None = None
    ) -> None:
        """``admins`` are the uids whose admin calls are taken; None: those of the configured admin socket."""
        self._config = config
        self._clock = clock
        self._state = state
        self._link = link
        self._aside = Aside()
        self._reader: AuditReader | None = None
        self._pin_confirmed: set[str] = set()
        self.backends = {b.name: Backend(self._spec(b), clock, self._backend_changed) for b in config.backends}
        self._met: set[str] = set()
        self.publishers = {p.name: Backend(publisher_spec(config, p), clock, self._said) for p in config.publishers}
        self._workers = [*self.backends.values(), *self.publishers.values()]
        for worker in self._workers:
            worker.tick(clock.monotonic())
        audit = state / "audit.sqlite"
        self._store = SqliteAuditStore(audit, config.limits.audit_write_s)
        self._verifying = Aside()
        self._copying = Aside(COPY_NICE)
        self._checkpoints = Checkpoints(audit, self._store, self._copying)
        lookups = self._begin_log()
        self._ring_store = RingStore(state / RING_FILE)
        versions = Versions(self._ring_store, self._store, clock)
        self.ring = Keyring(key_specs(config), versions, clock)
        self.life = Life(self.ring, versions, self.backends, clock)
        publishing = publishing_of(config, self.publishers, state, self._store, clock, lookups)
        presence = Presence(self._store, self.ring.pins, self.ring.signing, self.backends, clock)
        self.sealing = Sealing(
            self._store, self.ring.pins, self.backends, clock, self._aside, publishing, self._verifying, presence
        )
        self.macs = MacSealing(self._store, self.ring.pins, self.backends, clock)
        self.grants = Grants(self._store, clock)
        self._approvals = ApprovalLedger(state / RING_FILE, config.approvals, self._store)
        entries = EntryDesk(self, state, config)
        self.front = Front(link, self.sealing, self.macs, self._query, self._desk(admins).call, entries.call)
        self._poller = select.poll()
        self._polled: dict[int, int] = {}
        self.news = News(self.front.send, self.ring, self.grants)
        self._open_limit = clock.monotonic() + OPEN_LIMIT_S
        self._ageing_at = clock.monotonic()
        self._asking_at = 0.0

    def _desk(self, admins: Collection[int] | None) -> AdminDesk:
        config = self._config
        configured = config.sockets.admin.uids if config.sockets.admin else ()
        return AdminDesk(
            self,
            self.life,
            self._approvals,
            self.grants,
            self._store,
            self._clock,
            frozenset(configured if admins is None else admins),
            frozenset(tenant.name for tenant in config.tenants),
        )

    def run(self) -> None:
        """Serve until the front end's link ends; then close what is open and end the workers."""
        try:
            while True:
                self._turn()
        except LinkBroken as broken:
            self._violated(Violation(broken.reason))
        except LinkClosed:
            pass
        except Violation as violation:
            self._violated(violation)
        finally:
            self.sealing.give_up()
            self.macs.give_up()
            for worker in self._workers:
                worker.close(0.2)

    def _violated(self, violation: Violation) -> None:
        _log.error("the front end broke the link's rules: %s %s", violation.reason, violation.audit_id[:64])
        self.sealing.record_violation(violation)

    def _turn(self) -> None:
        ready = self._poll()
        now = self._clock.monotonic()
        for backend in self._workers:
            link, *pidfd = backend.descriptors() or (-1,)
            if link in ready:
                backend.readable(self.front.progress)
            if pidfd and pidfd[0] in ready:
                backend.reap()
            backend.tick(now)
        for thread in (self._aside, self._verifying, self._copying):
            if thread.fileno() in ready:
                thread.collect()
        self.front.flush()
        if self._link.fileno() in ready:
            self.front.read()
        self.sealing.turn()
        self.macs.turn()
        if still := self.sealing.judging.still():
            self.front.send(StillVerifying(still))
        self._checkpoints.turn()
        for backend in self._workers:
            backend.flush()
        self._open_if_ready(now)
        self._ask_again(now)
        self._warn_of_age(now)
        self.front.flush()

    def _ask_again(self, now: float) -> None:
        """Look for keys that could not be reached as often as for a worker that keeps crashing."""
        if not self.ring.unreached:
            self._asking_at = now + self._config.limits.worker_backoff_longest_s
        elif now >= self._asking_at:
            self._asking_at = now + self._config.limits.worker_backoff_longest_s
            for backend in self.backends.values():
                if backend.up:
                    self.ring.ask_again(backend)

    def _warn_of_age(self, now: float) -> None:
        """Say once a day which keys are near their end."""
        if now < self._ageing_at:
            return
        self._ageing_at = now + DAY_MS / 1000
        for entry, days in self.ring.ageing(self._clock.now_ms()):
            _log.warning("key %s, version %d: too old to sign in %d days; rotate it", entry.key, entry.version, days)

    def _poll(self) -> dict[int, int]:
        wanted = {
            self._link.fileno(): POLLIN | POLLOUT if self._link.wants_write else POLLIN,
            self._aside.fileno(): POLLIN,
            self._verifying.fileno(): POLLIN,
            self._copying.fileno(): POLLIN,
        }
        looks = [self._ageing_at]
        for backend in self._workers:
            fds = backend.descriptors()
            if fds:
                wanted[fds[0]] = POLLIN | POLLOUT if backend.wants_write() else POLLIN
                wanted.update(dict.fromkeys(fds[1:], POLLIN))
            look = backend.next_look()
            if look is not None:
                looks.append(look)
        if self.front.opened and not self.news.told:
            looks.append(self._open_limit)
        if self.ring.unreached:
            looks.append(self._asking_at)
        looks += [look for look in (self.sealing.next_look(), self.macs.next_look()) if look is not None]
        if wanted != self._polled:
            # Workers come and go rarely: the poll object is made anew only then.
            self._poller, self._polled = select.poll(), wanted
            for fd, events in wanted.items():
                self._poller.register(fd, events)
        wait = max(0.0, min(looks) - self._clock.monotonic()) * 1000 + 1
        return dict(self._poller.poll(wait))

    def _begin_log(self) -> Lookups | None:
        """Close what a crash left open, with the ``start`` leaf that bounds the next search, in one group; what a log
        may have of it is written down before (T4). Returns what is to be looked for."""
        now = self._clock.now_ms()
        left = self._store.open_records()
        lookups = begun(self._config, left, self._state, self._store, self._clock)
        leaves = [outcome_leaf(leaf.audit_id, leaf.tenant, now, "unknown") for leaf in left]
        if leaves:
            _log.warning("%d records were open and are closed as unknown", len(leaves))
        self._store.append_many([*leaves, start_leaf(__version__, plugin_facts(self._config), now)])
        return lookups

    def _open_if_ready(self, now: float) -> None:
        if self.news.told:
            self.news.tell()
        elif self.front.opened and (self._settled or now >= self._open_limit):
            self.news.open(self._store, self.backends.values(), self._clock.now_ms() // DAY_MS)

    @property
    def _settled(self) -> bool:
        """Whether every worker has said whether it works: who is served then need not be told to try again."""
        return self.ring.settled and self._met >= self.publishers.keys()

    def _backend_changed(self, backend: Backend) -> None:
        if backend.up:
            self.ring.backend_up(backend)
        else:
            self.ring.backend_down(backend)
        self.news.backend(backend)

    def _said(self, publisher: Backend) -> None:
        self._met.add(publisher.spec.name)
        said(publisher)

    def _spec(self, configured: ConfiguredBackend) -> BackendSpec:
        return backend_spec(self._config, configured, self._pin_confirmed)

    def _query(self, query: Query) -> None:
        def done(answer: Answer | SignerdError) -> None:
            if isinstance(answer, SignerdError):
                answer = Answer(query.id, error=CallError(answer.code, answer.reason, answer.public))
            self.front.send(answer)

        self._aside.run(lambda: answer_of(query, lambda: self.read_log(query)), done)

    # The admin desk's hands.

    def read_log(self, query: Query) -> Answer:
        """Read a page of the log, in the thread aside."""
        if self._reader is None:
            self._reader = AuditReader(self._state / "audit.sqlite")
        page = self._reader.read(query.tenant, query.filters, query.cursor, query.limit)
        return Answer(query.id, page.records, page.indices, page.next)

    def aside(self, work: Callable[[], T], done: Callable[[T | SignerdError], None]) -> None:
        """Run ``work`` in the thread aside."""
        self._aside.run(work, done)

    def answer(self, answer: AdminAnswer, fds: tuple[int, ...]) -> None:
        """Queue the end of an admin call, behind what it has changed: who is told that it is done may rely on it."""
        if self.news.told:
            self.news.tell()
        self.front.send(answer, fds)

    def confirm_pins(self) -> tuple[str, ...]:
        """Start the workers anew whose PIN is latched, with the word that it may be presented again (T18).

        One that is a service of its own is not started here: its operator removes the mark.
        """
        ours = sorted(configured.name for configured in self._config.backends if not configured.socket)
        latched = [name for name in ours if self.backends[name].latched]
        for name in latched:
            self._pin_confirmed.add(name)
            self.backends[name].restart()
        return tuple(latched)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sealer; the front end is the only one who starts it."""
    parser = argparse.ArgumentParser(prog="python -m signerd.sealer.main")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--admin", action="store_true", help="take admin calls of the own uid: an operator's command")
    parser.add_argument("--config", type=Path, help="configuration file; else embedded defaults on standard input")
    arguments = parser.parse_args(argv)
    harden(die_with_parent=False)  # it must outlive the front end for as long as it takes to close the records
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_S)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(levelname)s: %(message)s")
    logging.Formatter.converter = time.gmtime
    link = Link(socket.socket(fileno=arguments.fd))
    given = decode(sys.stdin.buffer.read())
    config = load(arguments.config, state=Path(given.daemon.state)) if arguments.config else given
    state = Path(config.daemon.state)
    try:
        certified(config)
        prepare_state(state)
        with StateLock(state):
            admins = {os.geteuid()} if arguments.admin else None
            gc.disable()  # a large ring is read then, and all of it stays
            process = Process(config, link, SystemClock(), state, admins)
            gc.collect()
            gc.freeze()
            gc.enable()
            gc.set_threshold(50_000, 20, 100)
            process.run()
    except SignerdError as error:
        _log.error("%s", error)
        link.queue(encode_frame(Failed(CallError(error.code, error.reason, error.public, str(error.args[0])))))
        with contextlib.suppress(LinkClosed):
            link.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
