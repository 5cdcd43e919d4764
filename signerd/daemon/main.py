"""The front end's process: puts everything together, serves, drains.

Order of start: the sealer first (it starts the key workers meanwhile), then the plugins, then the socket; ``ready`` is
said when the sealer has opened. Order of end: no new requests, what is in flight is answered, the sealer's link is
closed, and the sealer closes the record.
"""

import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from signerd.daemon import listener
from signerd.daemon.aggregate import Aggregate
from signerd.daemon.background import Background
from signerd.daemon.compose import limits_of, plugin_entries, plugin_infos, quotas_of, services_of
from signerd.daemon.deadlines import DeadlineHeap
from signerd.daemon.documents import Documents
from signerd.daemon.doors import Doors
from signerd.daemon.frontend import Frontend
from signerd.daemon.ledger import CappedLedger
from signerd.daemon.poller import Poller
from signerd.daemon.reads import Reads
from signerd.daemon.relay import AdminRelay
from signerd.daemon.reload import read_again, store_of, waiting
from signerd.daemon.sealer_link import SealerLink
from signerd.daemon.sealer_process import SealerProcess
from signerd.daemon.session import MOST_DESCRIPTORS
from signerd.daemon.signing import Signing
from signerd.daemon.snapshot import Snapshot
from signerd.daemon.verifier import Verifier
from signerd.daemon.verifying import Verifying
from signerd.daemon.waiters import Waiters
from signerd.errors import Refusal, SignerdError
from signerd.host.clock import SystemClock
from signerd.host.config_model import Config
from signerd.host.distribution import LoadError
from signerd.host.hardening import harden
from signerd.host.load import Loaded, load_policy_plugins
from signerd.host.spawn import Spawned, spawn
from signerd.host.trust_files import read_against
from signerd.pipeline.services import Services
from signerd.wire.methods import SocketName

__all__ = ["Daemon", "serve"]

_log = logging.getLogger("signerd")

TICK_S: Final = 0.05
"""How often deadlines are looked at while anything is in flight: their precision, and no cost while idle."""
IDLE_TICK_S: Final = 1.0
DRAIN_S: Final = 25.0
"""How long what is in flight may take once the daemon was told to end; below a service manager's patience."""
LAST_WORDS_S: Final = 1.0
"""How long callers may take to read what was answered before the end: one that does not read holds up nobody."""
MOST_OPEN: Final = 65_536
"""Descriptors that the process asks for: 1,024 connections, and what callers hand over."""


class Daemon:
    """The composition root."""

    def __init__(self, config: Config, nursery: trio.Nursery) -> None:
        self._config = config
        self._against = read_against(config)  # before anything is started that would outlive a refusal
        self._clock = clock = SystemClock()
        self._wake = trio.Event()
        self._draining = False
        self.snapshot = Snapshot()
        self.poller = Poller(self._turned)
        # An audit write may take its limit, and a worker's call its own, before the sealer must be taken for hung.
        calls = max(backend.deadline_s(config.limits) for backend in config.backends)
        self.sealer = SealerLink(clock, 2 * config.limits.audit_write_s + calls, self._news)
        self.process = SealerProcess(config, self.sealer, self.poller, clock, self._wake_up)
        self.process.start()
        try:
            loaded = load_policy_plugins(plugin_entries(config), development=config.daemon.development)
        except LoadError:
            self.process.kill()  # else it outlives this process for a while, and holds the lock
            raise
        # The document worker loads what brings predicate types, and no other plugin.
        self._predicate_plugins = {provided.name for provided in loaded.predicates.values()}
        self.deadlines = DeadlineHeap(self._wake_up)
        aggregate = Aggregate(config.limits.audit_refused_bytes, clock.monotonic())
        self._ledger = CappedLedger(self.sealer, aggregate)
        self._background = Background(nursery)
        self._quotas, self._store = quotas_of(loaded, clock, self._background), store_of(config, loaded)
        services = services_of(config, loaded, self.snapshot, self._ledger, self.deadlines, clock, self._quotas)
        self.documents = Documents(self._start_documents, self.poller, clock)
        waiters = Waiters(self.sealer, self.documents, nursery, self._turned)
        self.signing = Signing(services, waiters, self.sealer, config.limits, clock)
        self.verifier = Verifier(self._start_verifier, self.poller, clock)
        self.verifying = Verifying(self.verifier, config.limits, clock, self._wake_up)
        self.frontend = Frontend(
            services,
            self.signing,
            self._reads(services, loaded),
            self.sealer,
            config.limits,
            self.poller,
            clock,
            aggregate,
            self._doors(nursery),
        )

    def _reads(self, services: Services, loaded: Loaded) -> Reads:
        return Reads(
            services,
            self.snapshot,
            self.sealer,
            limits_of(self._config.limits, MOST_DESCRIPTORS),
            self._clock,
            plugin_infos(loaded),
            self._config.daemon.development,
            self._clock.monotonic(),
            self.verifying,
        )

    def _doors(self, nursery: trio.Nursery) -> Doors:
        sockets = self._config.sockets
        admins = frozenset(sockets.admin.uids if sockets.admin else ())
        return Doors(frozenset(sockets.sign.uids), admins, AdminRelay(self.sealer, self._read_again, nursery))

    async def run(self, nursery: trio.Nursery) -> None:
        """Serve until told to end, then drain."""
        nursery.start_soon(self.poller.run)
        nursery.start_soon(self._ticker)
        await self.process.opened()
        # Signals are held to the end: a second SIGTERM must not cut off what the first one lets finish.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            await self._serve(signals)
            async with trio.open_nursery() as ending:
                ending.start_soon(_ignore, signals)
                await self._drain()
                ending.cancel_scope.cancel()
        nursery.cancel_scope.cancel()

    async def _serve(self, signals: AsyncIterator[int]) -> None:
        """Accept until a signal says to end."""
        sign, admin = self._config.sockets.sign, self._config.sockets.admin
        with contextlib.ExitStack() as sockets:
            listening: list[tuple[SocketName, socket.socket]] = [("sign", _listen(sockets, Path(sign.path), sign.mode))]
            if admin is not None:
                listening.append(("admin", _listen(sockets, Path(admin.path), admin.mode, admin.group)))
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            async with trio.open_nursery() as accepting:
                for via, bound in listening:
                    accepting.start_soon(listener.serve, bound, partial(self.frontend.accept, via))
                print(f"ready unix:{sign.path}", file=sys.stderr, flush=True)  # what starters wait for
                async for number in signals:
                    if number != signal.SIGHUP:
                        break
                    await self._reload()
                accepting.cancel_scope.cancel()

    async def _reload(self) -> None:
        """Read the file again (SIGHUP) and decide by it from then on; one that cannot be used changes nothing."""
        with contextlib.suppress(SignerdError):  # what it was stands in the log
            await self._read_again()

    async def _read_again(self) -> Sequence[str]:
        """Read the file again, and return the sections that wait for the next start; raises why nothing changes."""
        before = self._config
        if not before.source:
            _log.warning("reload: there is no configuration file; embedded defaults do not change")
            raise Refusal("request.unsupported", "embedded", "the daemon has no configuration file")
        try:
            config, loaded = read_again(before)
            against = read_against(config)
        except (SignerdError, LoadError) as exc:
            _log.error("reload: nothing is changed: %s", exc)
            raise Refusal(
                "request.malformed", "configuration", "the configuration cannot be used; the daemon's log says why"
            ) from exc
        sections = waiting(before, config)
        for section in sections:
            _log.warning("reload: [%s] has changed and waits for the next start", section)
        if store_of(config, loaded) != self._store:
            _log.warning("reload: the quota store has changed and waits for the next start")
        self._config = msgspec.structs.replace(before, plugins=config.plugins, tenants=config.tenants)
        if against != self._against:
            self._against = against
            self.verifier.renew()
        self._predicate_plugins = {provided.name for provided in loaded.predicates.values()}
        if before.plugins != config.plugins:
            self.documents.renew()
        decides = msgspec.structs.replace(config, publishers=before.publishers)
        services = services_of(
            decides, loaded, self.snapshot, self._ledger, self.deadlines, self._clock, self._quotas
        )
        await self.frontend.renew(services)
        _log.info("reload: done")
        return sections

    async def _drain(self) -> None:
        self._draining = True
        self.frontend.drain()
        with trio.move_on_after(DRAIN_S):
            while self.frontend.in_flight or self._background:  # noqa: ASYNC110  # once in a life, and it costs no event on every answer
                await trio.sleep(TICK_S / 5)
        with trio.move_on_after(LAST_WORDS_S):
            while self.frontend.unsent:  # noqa: ASYNC110  # the same
                await trio.sleep(TICK_S / 5)
        self.frontend.close()
        self._turned()
        self.documents.close()
        self.verifier.close()
        await self.process.end()

    async def _ticker(self) -> None:
        """Look at what time alone brings: deadlines, silent peers, workers to be started again."""
        while True:
            if len(self.deadlines) or len(self.verifying) or not self.sealer.connected:
                await trio.sleep(TICK_S)
            else:
                with trio.move_on_after(IDLE_TICK_S):
                    await self._wake.wait()
            self._wake = trio.Event()
            now = self._clock.monotonic()
            self.signing.expire(self.deadlines.expired(now))
            self.frontend.tick(now)
            self.documents.tick(now)
            self.verifier.tick(now)
            self.verifying.tick(now)
            if not self._draining:
                self.process.tick(now)
            self._turned()

    def _turned(self) -> None:
        """End a turn: what was queued for the sealer goes out, once for all."""
        self.process.flush()

    def _wake_up(self) -> None:
        self._wake.set()

    def _news(self, message: msgspec.Struct) -> None:
        self.process.news(message, self.snapshot, self._quotas)

    def _start_documents(self) -> Spawned:
        config = self._config
        settings = {
            "plugins": {
                p.name: {
                    "settings": p.settings,
                    "version": p.version,
                    "record": p.record,
                    "certificate": p.certificate,
                    "certifiers": config.conformance.certifiers,
                }
                for p in config.plugins
                if p.name in self._predicate_plugins
            },
            "development": config.daemon.development,
        }
        return spawn("signerd.worker.document", settings=msgspec.json.encode(settings))

    def _start_verifier(self) -> Spawned:
        against = self._against
        settings = {"trusted_root": against.trusted_root, "policies": against.policies}
        return spawn("signerd.worker.verify", settings=msgspec.json.encode(settings))


def _listen(sockets: contextlib.ExitStack, path: Path, mode: int, group: str = "") -> socket.socket:
    """Listen on ``path`` until ``sockets`` is left."""
    listening = listener.bind(path, mode, group)
    sockets.callback(listener.release, listening, path)
    return listening


async def _ignore(signals: AsyncIterator[int]) -> None:
    """Take signals and do nothing: what is left untaken would be raised again at the end."""
    async for number in signals:
        _log.info("signal %d: already ending", number)


async def _main(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        daemon = Daemon(config, nursery)
        try:
            await daemon.run(nursery)
        finally:
            daemon.process.kill()
            daemon.documents.close()
            daemon.verifier.close()


def serve(config: Config) -> int:
    """Run the daemon on ``config`` until SIGTERM; return the exit code.

    Raises SignerdError where it cannot start (``state.locked``, an unfit path) and LoadError for a plugin.
    """
    harden(die_with_parent=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_OPEN)), hard))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(levelname)s: %(message)s")
    try:
        trio.run(_main, config)
    except BaseExceptionGroup as group:
        raise _first(group) from None
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error that start-up ended with; several at once stay a group."""
    known = group.subgroup((SignerdError, ValueError))
    error: BaseException = known or group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
