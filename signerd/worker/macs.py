"""The calls for keys that make MACs: ``hmac`` and ``check_hmac``, over bytes or a caller's file.

A file is read here, where the key is, in one pass and by parts: a gigabyte costs a buffer. It is whatever a caller
handed over (T19): only a regular file of exactly the named size counts, and it is looked at in the call's own thread,
for it may lie on a disk that hangs.
"""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol, TypeVar, cast

import msgspec
from msgspec import Raw

from signerd.attestation.macs import MACS, is_mac_keyid
from signerd.contracts.providers import KeyBackend, Macs
from signerd.contracts.values import MacChecked, MacResult
from signerd.errors import Fault, Refusal, SignerdError
from signerd.wire.decoding import decode_strict, malformed
from signerd.wire.mac_calls import CheckHmacParams, CheckHmacResult, HmacParams, HmacResult
from signerd.wire.params import Descriptor
from signerd.worker.aside import Work

__all__ = ["AT_ONCE_BYTES", "Ask", "MacCalls", "Message"]

PART_BYTES: Final = 1024 * 1024
"""One read."""
AT_ONCE_BYTES: Final = 4 * 1024
"""What is not longer is done in the loop: a thread costs more, and the slowest algorithm takes some milliseconds."""
_encode: Final = msgspec.msgpack.Encoder().encode


T = TypeVar("T", bound=msgspec.Struct)


class Ask(Protocol):
    """Calls a method of the backend under its guard; raises ``key.*`` alone."""

    def __call__(self, method: Callable[..., object], expected: type[T], *args: object) -> T:
        """Return its answer, which is of ``expected``."""
        ...


def _never() -> bool:
    return False


class Message:
    """A call's message in parts. ``whole`` says afterwards that all of it was taken, ``failure`` why it was not."""

    def __init__(self, data: bytes | int, size: int, stopped: Callable[[], bool] = _never) -> None:
        """``data`` is the bytes themselves, or a descriptor that stays the caller's."""
        self._data = data
        self._size = size
        self._stopped = stopped
        self.whole = False
        self.failure: SignerdError | None = None

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self.whole = False
        try:
            if isinstance(self._data, bytes):
                yield self._data
            else:
                yield from self._parts(self._data)
        except SignerdError as error:
            self.failure = error
            raise
        except OSError as exc:
            self.failure = Refusal("request.malformed", "descriptor_read", "a descriptor cannot be read")
            self.failure.add_note(str(exc))
            raise self.failure from exc
        self.whole = True

    def _parts(self, fd: int) -> Iterator[memoryview]:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refusal("request.malformed", "descriptor_kind", "a descriptor is not a regular file")
        at = 0
        with memoryview(bytearray(min(PART_BYTES, self._size))) as buffer:
            while at < self._size:
                if self._stopped():
                    raise Fault("key.backend_unavailable", "call_deadline", "the data was not read in time")
                with buffer[: self._size - at] as room:
                    read = os.preadv(fd, [room], at)
                    if not read:
                        break
                    at += read
                    with room[:read] as part:
                        yield part
        if at != self._size or os.fstat(fd).st_size != self._size:
            raise Refusal(
                "request.malformed", "size_mismatch", "a descriptor does not have the size that was named"
            )


class MacCalls:
    """The calls against one backend. ``ask`` calls a method of it under its guard, ``fault`` makes the fault of one
    that broke the contract."""

    def __init__(self, backend: KeyBackend, ask: Ask, fault: Callable[[str, str], Fault]) -> None:
        self._backend = cast("Macs", backend)
        self._ask = ask
        self._fault = fault
        self._hmac = msgspec.msgpack.Decoder(HmacParams)
        self._check = msgspec.msgpack.Decoder(CheckHmacParams)
        self.methods = ("hmac", "check_hmac") if "hmac" in backend.capabilities else ()
        """What the hello names."""

    def begin(self, method: str, params: Raw, fds: list[int]) -> tuple[Work, bool]:
        """Return the work of one call, and whether it is short. Takes its descriptor out of ``fds`` and closes it.

        Refuses ``request.*`` for params that are out of shape and descriptors that are not those that they name.
        """
        wanted: HmacParams | CheckHmacParams
        wanted = decode_strict(self._hmac, params) if method == "hmac" else decode_strict(self._check, params)
        if wanted.algorithm not in MACS:
            raise Refusal("key.algorithm_refused", "unknown_algorithm", "there is no such MAC")
        data = wanted.data
        if isinstance(data, bytes):
            if fds:
                raise malformed("descriptor_surplus")
            return partial(self._work, wanted, data, len(data)), len(data) <= AT_ONCE_BYTES
        if data.fd != 0 or len(fds) != 1:
            raise malformed("descriptor_index")
        return partial(self._with_file, wanted, data, fds.pop()), False

    def _with_file(
        self, wanted: HmacParams | CheckHmacParams, data: Descriptor, fd: int, stopped: Callable[[], bool]
    ) -> Raw:
        try:
            return self._work(wanted, fd, data.size, stopped)
        finally:
            os.close(fd)  # here: a file system of the caller's may take its time

    def _work(
        self, wanted: HmacParams | CheckHmacParams, data: bytes | int, size: int, stopped: Callable[[], bool]
    ) -> Raw:
        message = Message(data, size, stopped)
        try:
            result = self._made(wanted, message) if isinstance(wanted, HmacParams) else self._checked(wanted, message)
        except SignerdError as error:
            # What the message itself raised is the reason, whatever the backend has made of it.
            raise message.failure or error from None
        if not message.whole:
            raise self._fault("plugin_answer", "an answer over a part of the message")
        return Raw(_encode(result))

    def _made(self, wanted: HmacParams, message: Message) -> HmacResult:
        made = self._ask(self._backend.hmac, MacResult, wanted.key, wanted.algorithm, message)
        self._check_keyid(made.keyid)
        self._check_type(bytes, made.mac)
        if len(made.mac) != MACS[wanted.algorithm].mac_bytes:
            raise self._fault("plugin_answer", f"a MAC that is none of {wanted.algorithm}")
        return HmacResult(made.mac, made.keyid)

    def _checked(self, wanted: CheckHmacParams, message: Message) -> CheckHmacResult:
        found = self._ask(self._backend.check_hmac, MacChecked, wanted.key, wanted.algorithm, message, wanted.mac)
        self._check_keyid(found.keyid)
        self._check_type(bool, found.valid)
        return CheckHmacResult(found.valid, found.keyid)

    def _check_keyid(self, keyid: str) -> None:
        self._check_type(str, keyid)
        if not is_mac_keyid(keyid):
            raise self._fault("plugin_answer", "a keyid that is none")

    def _check_type(self, expected: type, value: object) -> None:
        # A Struct does not look at what it is made of.
        if not isinstance(value, expected):
            raise self._fault("plugin_type", f"a {type(value).__name__} stands where {expected.__name__} must")
