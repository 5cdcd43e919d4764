"""A PIN that an authenticator has refused is not presented again (T18): eight wrong ones lock it for good.

Before the PIN is presented a mark is made on disk, with the retries that the authenticator says are left, and taken
away when it has let us in. A refusal leaves it, as does a crash; so no restart forgets. What became of a PIN whose end
nobody saw, the authenticator tells: it has fewer retries left if it was wrong, and all of them if it was right. Another
PIN opens the latch, so does ``signerd admin confirm pin``, and so does removing the file.

The last retries are never used, whatever the mark says: they are for the person who knows the PIN.

The mark knows the PIN by scrypt (RFC 7914) with a salt of its own, so that the same wrong PIN from another file is not
tried either.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec
from fido2.ctap import CtapError

from signerd.errors import Fault
from signerd_key_fido2.failures import PIN_REJECTED, fault
from signerd_key_fido2.folder import Folder, Locked

__all__ = ["KEPT_RETRIES", "MARK", "PinLatch"]

KEPT_RETRIES: Final = 3
"""CTAP 2.1, section 6.5.5.7 gives eight, and asks for a power cycle after three in a row."""
MARK: Final = "pin.json"

T = TypeVar("T")


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds: which PIN, the retries left before it was presented, and whether it is known to be wrong."""

    salt: bytes
    digest: bytes
    retries: int
    rejected: bool

    def is_of(self, pin: str) -> bool:
        return hmac.compare_digest(self.digest, _digest(pin, self.salt))


class PinLatch:
    """The mark in a folder of state."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def present(self, pin: str, retries: int, attempt: Callable[[], T]) -> T:
        """Call ``attempt``, which presents ``pin``, if that may still be done, and return its result; ``retries`` is
        what the authenticator says is left.

        A CtapError of :data:`PIN_REJECTED` latches; whatever is raised is raised again. ``key.backend_fault``:
        ``pin_latched`` and ``pin_retries_low`` (nothing was presented), and what :class:`Folder` raises. Waits while
        another process presents a PIN by the same folder.
        """
        with self._folder.locked() as folder:
            before = self._read()
            if before is not None and before.is_of(pin) and (before.rejected or retries < before.retries):
                _write(folder, msgspec.structs.replace(before, rejected=True))
                raise self._latched()
            if retries <= KEPT_RETRIES:
                raise fault(
                    "pin_retries_low",
                    f"the authenticator takes {retries} more wrong PINs, and those are left to a person: present the"
                    " right one by another program, which gives it all its retries back",
                )
            salt = secrets.token_bytes(16)
            mark = _Mark(salt, _digest(pin, salt), retries, rejected=False)
            _write(folder, mark)
            try:
                result = attempt()
            except CtapError as exc:
                if exc.code in PIN_REJECTED:
                    _write(folder, msgspec.structs.replace(mark, rejected=True))
                raise
            folder.remove(MARK)
            return result

    def confirm(self) -> None:
        """Remove the mark: a person has looked, and the PIN may be presented once more."""
        with self._folder.locked() as folder:
            folder.remove(MARK)

    def _latched(self) -> Fault:
        return fault(
            "pin_latched",
            "the authenticator has refused the configured PIN; it is not presented again. Correct it, or remove"
            f" {self._folder.place(MARK)} once it is known to be right",
        )

    def _read(self) -> _Mark | None:
        text = self._folder.read(MARK)
        if text is None:
            return None
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return msgspec.json.decode(text, type=_Mark)
        # Whether a PIN was refused is not known then, and presenting it could be the last time.
        raise fault("pin_mark_unreadable", f"{self._folder.place(MARK)} is no mark of a PIN")


def _write(folder: Locked, mark: _Mark) -> None:
    folder.replace(MARK, msgspec.json.encode(mark))


def _digest(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
