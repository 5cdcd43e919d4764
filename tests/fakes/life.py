"""A sealer's ring with everything around it that is real: both files, and key-file's backend in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from fakes.sealing import HandClock
from signerd.errors import SignerdError
from signerd.sealer import audit as audit_file
from signerd.sealer import ring as ring_file
from signerd.sealer.audit import SqliteAuditStore
from signerd.sealer.backends import Backend, BackendSpec
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.keyring import Keyring
from signerd.sealer.life import Life
from signerd.sealer.ring import RingStore
from signerd.sealer.versions import Versions
from signerd.sealer.worker_call import Call
from signerd.sealer.worker_errors import KEY
from signerd.wire.orders import KeyOrder
from signerd.wire.ring import RingEntry
from signerd.wire.worker_calls import CallError
from signerd.worker.calls import Calls
from signerd_key_file.backend import FileBackend

KEYS: Final = ("file:a", "file:b")


class NearBackend:
    """A worker without its process: the very calls, answered at once, or by :meth:`answer` while ``holding``."""

    def __init__(self, folder: Path, name: str = "soft") -> None:
        self.spec = BackendSpec(name, "file", 1.0, cast("Any", None))
        self.calls = Calls(FileBackend({"directory": str(folder)}), name)
        self.methods = frozenset(self.calls.methods)
        self.up = True
        self.holding = False
        self.held: list[Call] = []
        self.condemned: list[str] = []
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = dict

    def call_many(self, calls: Sequence[Call]) -> None:
        self.held += calls
        if not self.holding:
            self.answer()

    def answer(self) -> None:
        """Answer all that waits."""
        held, self.held = self.held, []
        for call in held:
            call.done(self._outcome(call))

    def _outcome(self, call: Call) -> msgspec.Raw | CallError:
        if not self.up:
            return CallError("key.backend_unavailable", "worker_down", "down")
        params = msgspec.Raw(msgspec.msgpack.encode(call.params))
        try:
            result = msgspec.msgpack.decode(self.calls.answer(call.method, params, ()))
        except SignerdError as exc:
            return KEY.told(CallError(exc.code, exc.reason, exc.public, str(exc.args[0])))
        return msgspec.Raw(msgspec.msgpack.encode(self.spoil(result)))

    def condemn(self, why: str) -> None:
        self.condemned.append(why)


class Keys:
    """A sealer's keys; :meth:`restart` opens the same files anew."""

    def __init__(self, folder: Path, *specs: KeySpec, clock: HandClock | None = None) -> None:
        self.folder = folder
        self.clock = clock or HandClock()
        self.specs = specs or tuple(KeySpec(key, "local", "soft", "file") for key in KEYS)
        self.open()

    def open(self) -> None:
        """Open the files, and have the backend describe its keys."""
        self.audit = SqliteAuditStore(self.folder / audit_file.FILE_NAME)
        self.store = RingStore(self.folder / ring_file.FILE_NAME)
        self.backend = NearBackend(self.folder / "keys")
        self.versions = Versions(self.store, self.audit, self.clock)
        self.ring = Keyring(self.specs, self.versions, self.clock)
        backends = cast("dict[str, Backend]", {"soft": self.backend})
        self.life = Life(self.ring, self.versions, backends, self.clock)
        self.ring.backend_up(cast("Backend", self.backend))

    def close(self) -> None:
        self.audit.close()
        self.store.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def order(self, operation: Any, key: str = "file:a", **fields: Any) -> tuple[RingEntry, ...] | SignerdError:
        """Give an order that ends before this returns; its end."""
        ends: list[tuple[RingEntry, ...] | SignerdError] = []
        self.life.order(KeyOrder(operation, key, "because", by="uid:0", **fields), ends.append)
        (end,) = ends
        return end

    def done(self, operation: Any, key: str = "file:a", **fields: Any) -> tuple[RingEntry, ...]:
        """Give an order that must succeed."""
        end = self.order(operation, key, **fields)
        assert not isinstance(end, SignerdError), end
        return end

    def refused(self, operation: Any, key: str = "file:a", **fields: Any) -> str:
        """Give an order that must not; code and reason."""
        end = self.order(operation, key, **fields)
        assert isinstance(end, SignerdError), end
        return f"{end.code} {end.reason}"
