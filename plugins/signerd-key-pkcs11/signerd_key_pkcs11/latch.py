"""A PIN that a token has refused is not presented again (T18): a few wrong ones lock hardware for good.

Before each login a mark is made on disk, and taken away when the token has let us in. A refusal leaves it, as
does a crash; so no restart forgets. One login whose end nobody saw may be followed by one more, because a
process can be killed between a good login and the removal of the mark; a second such login latches as a
refusal does. Another PIN opens the latch, and so does removing the file.

The mark knows the PIN by scrypt (RFC 7914) with a salt of its own, so that the same wrong PIN from another
file is not tried either. A short PIN can be guessed from that: the folder is as private as the PIN file.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from signerd.errors import Fault
from signerd_key_pkcs11.failures import fault

__all__ = ["MOST_UNCERTAIN", "PinLatch"]

MOST_UNCERTAIN: Final = 2
"""Logins with one PIN of which nobody saw the end."""
_MARK: Final = re.compile(r"pin-[0-9a-f]{32}\.json")
_MOST_BYTES: Final = 4096
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the file holds. ``attempts`` counts the logins without a known end; ``rejected`` is a known one."""

    salt: str
    digest: str
    attempts: int
    rejected: bool

    @classmethod
    def new(cls, pin: str) -> "_Mark":
        salt = secrets.token_hex(16)
        return cls(salt, _digest(pin, salt), 0, rejected=False)

    def is_of(self, pin: str) -> bool:
        return hmac.compare_digest(self.digest, _digest(pin, self.salt))


class PinLatch:
    """The marks in one folder, one file a token. The folder is made (0700) where it is missing."""

    def __init__(self, folder: str) -> None:
        self._path = folder

    def login(
        self,
        token: str,
        pin: str,
        attempt: Callable[[], T],
        *,
        rejected: tuple[type[Exception], ...],
        unjudged: tuple[type[Exception], ...],
        counted: bool = False,
    ) -> T:
        """Call ``attempt``, which presents ``pin`` to ``token``, if that may still be done, and return its result.

        ``token`` names the mark's file; ``counted`` says that the token itself tells of a failed login. An
        exception of ``rejected`` latches, one of ``unjudged`` leaves all as it was, any other counts as an end
        that nobody saw; each is raised again.

        ``key.backend_fault``: ``pin_latched`` (nothing was presented), ``latch_folder`` (not a directory of
        this user's, closed to all others, or it cannot be written), ``latch_unreadable``. Waits while another
        process presents a PIN under the same folder.
        """
        with self._locked() as folder:
            before = self._read(folder, token)
            mark = before if before is not None and before.is_of(pin) else _Mark.new(pin)
            if mark.rejected or mark.attempts >= MOST_UNCERTAIN or (mark.attempts and counted):
                raise self._latched(token, mark)
            mark = replace(mark, attempts=mark.attempts + 1)
            self._write(folder, token, mark)
            try:
                result = attempt()
            except rejected:
                self._write(folder, token, replace(mark, rejected=True))
                raise
            except unjudged:
                self._restore(folder, token, before)
                raise
            self._restore(folder, token, None)
            return result

    def confirm(self) -> None:
        """Remove every mark: a person has looked, and each PIN may be presented once more. ``latch_folder`` as
        :meth:`login`."""
        with self._locked() as folder:
            try:
                for name in os.listdir(folder):
                    if _MARK.fullmatch(name):
                        os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            except OSError as exc:
                raise fault("latch_folder", f"{self._path} cannot be written: {exc.strerror}") from exc

    def _latched(self, token: str, mark: _Mark) -> Fault:
        why = "was refused" if mark.rejected else "was presented before, and nobody saw how that ended"
        return fault(
            "pin_latched",
            f"the configured PIN {why}; it is not presented again. Correct it, or remove"
            f" {os.path.join(self._path, _name(token))} once it is known to be right",
        )

    @contextmanager
    def _locked(self) -> Iterator[int]:
        folder = -1
        try:
            with suppress(FileExistsError):
                os.mkdir(self._path, 0o700)
            folder = os.open(self._path, _FOLDER)
            found = os.fstat(folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError as exc:
            if folder >= 0:
                os.close(folder)
            raise fault("latch_folder", f"{self._path}: {exc.strerror}") from exc
        try:
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise fault("latch_folder", f"{self._path} must be this user's and closed to all others (0700)")
            yield folder
        finally:
            os.close(folder)

    def _read(self, folder: int, token: str) -> _Mark | None:
        try:
            fd = os.open(_name(token), _OLD, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._unreadable(token) from exc
        with os.fdopen(fd, "rb") as file:
            try:
                match json.loads(file.read(_MOST_BYTES)):
                    case {
                        "salt": str(salt),
                        "digest": str(digest),
                        "attempts": int(attempts),
                        "rejected": bool(rejected),
                    }:
                        return _Mark(salt, digest, attempts, rejected)
            except (ValueError, OSError) as exc:
                raise self._unreadable(token) from exc
        raise self._unreadable(token)

    def _unreadable(self, token: str) -> Fault:
        # Whether a PIN was refused is not known then, and asking the token could be the last time.
        return fault("latch_unreadable", f"{os.path.join(self._path, _name(token))} is no mark of a login")

    def _write(self, folder: int, token: str, mark: _Mark) -> None:
        name, draft = _name(token), f".{_name(token)}"
        try:
            fd = os.open(draft, _NEW, 0o600, dir_fd=folder)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                json.dump({slot: getattr(mark, slot) for slot in mark.__slots__}, file)
                file.flush()
                os.fsync(fd)
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except OSError as exc:
            raise fault("latch_folder", f"{self._path} cannot be written: {exc.strerror}") from exc

    def _restore(self, folder: int, token: str, before: _Mark | None) -> None:
        if before is not None:
            self._write(folder, token, before)
            return
        try:
            os.unlink(_name(token), dir_fd=folder)
            os.fsync(folder)
        except OSError as exc:
            raise fault("latch_folder", f"{self._path} cannot be written: {exc.strerror}") from exc


def _name(token: str) -> str:
    return f"pin-{hashlib.sha256(token.encode()).hexdigest()[:32]}.json"


def _digest(pin: str, salt: str) -> str:
    return hashlib.scrypt(pin.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=32).hex()
