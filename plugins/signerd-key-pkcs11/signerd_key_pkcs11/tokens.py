"""Tokens: found by what a reference says, logged in to once, with a pool of sessions each.

A login counts against the token, so each goes through the latch, and none is made where the token says that
one more wrong PIN would lock it.
"""

import logging
import os
from collections.abc import Callable
from typing import Final

import pkcs11
from pkcs11 import TokenFlag, exceptions

from signerd.secret_files.pins import read_pin
from signerd_key_pkcs11.failures import PIN_REJECTED, PIN_UNJUDGED, fault, forbidden, translated, unavailable
from signerd_key_pkcs11.gost import attribute_mapper
from signerd_key_pkcs11.latch import PinLatch
from signerd_key_pkcs11.library import Libraries, LockingLibrary
from signerd_key_pkcs11.settings import Settings
from signerd_key_pkcs11.uri import KeyUri

__all__ = ["OpenToken", "Tokens"]

_log = logging.getLogger(__name__)

LONGEST_PIN: Final = 256
"""Bytes; no token takes a longer PIN: a longer file is the wrong one."""
_AWAY: Final = (exceptions.TokenNotPresent, exceptions.TokenNotRecognised, exceptions.SlotIDInvalid)
_HOPELESS: Final = {TokenFlag.USER_PIN_LOCKED: "pin_locked", TokenFlag.USER_PIN_FINAL_TRY: "pin_final_try"}
"""Token flags under which no PIN is presented: it is locked, or a wrong one would lock it."""


class OpenToken:
    """A token that is logged in to, and its sessions. Once ``closed``, no handle of it may be used: a module gives
    the same numbers again, to other objects."""

    def __init__(self, module: str, token: pkcs11.Token, sessions: list[pkcs11.Session]) -> None:
        self.module = module
        self.token = token
        self.sessions = sessions
        self.closed = False

    def close(self) -> None:
        """Close the sessions, the first with the login last; what the token says to that changes nothing."""
        self.closed = True
        for session in reversed(self.sessions):
            try:
                session.close()
            except exceptions.PKCS11Error as exc:
                _log.debug("closing a session: %s", type(exc).__name__)


CONFIRMED: Final = "SIGNERD_PIN_CONFIRMED"


class Tokens:
    """The tokens of all modules; each is opened at its first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._libraries = Libraries(settings.modules, settings.environment)
        self._latch = None if settings.state is None else PinLatch(settings.state)
        # Set by the sealer for one start alone, after an admin's `admin.confirm pin`; nobody's configuration has it.
        if os.environ.pop(CONFIRMED, "") and self._latch is not None:
            self._latch.confirm()
        self._open: dict[str, OpenToken] = {}

    def get(self, uri: KeyUri) -> OpenToken:
        """Return the token that ``uri`` names, logged in to.

        ``key.backend_unavailable``: ``token_absent``, ``token_lost``, ``token_busy``. ``key.forbidden``:
        ``ambiguous_token``. ``key.backend_fault``: ``module_…``, ``pin_…``, ``latch_…``.
        """
        try:
            module, token = self._find(uri)
            name = f"{module}\0{token.slot.slot_id}\0{_identity(token)}"
            known = self._open.get(name)
            if known is None:
                known = self._open[name] = self._opened(module, token)
        except exceptions.PKCS11Error as exc:
            raise translated(exc, "opening the token") from exc
        return known

    def drop(self, lost: OpenToken, *, restart: bool = False) -> None:
        """Forget a token that was lost; ``restart`` its module too, which voids every session there."""
        if restart:
            self._restart(lost.module)
            return
        lost.close()
        self._open = {name: each for name, each in self._open.items() if each is not lost}

    def _restart(self, module: str) -> None:
        for each in self._open.values():
            if each.module == module:
                each.close()
        self._open = {name: each for name, each in self._open.items() if not each.closed}
        self._libraries.restart(module)

    def _find(self, uri: KeyUri) -> tuple[str, pkcs11.Token]:
        found = self._fitting(uri)
        if not found and self._libraries.refresh({each.module for each in self._open.values()}):
            found = self._fitting(uri)
        if not found:
            raise unavailable("token_absent", "no slot of any module has the token that the reference names")
        if len(found) > 1:
            raise forbidden(
                "ambiguous_token",
                "the key reference fits several tokens",
                f"{len(found)} tokens fit: say which by serial=, slot-id= or module-name=",
            )
        return found[0]

    def _fitting(self, uri: KeyUri) -> list[tuple[str, pkcs11.Token]]:
        found = []
        for module, library in self._libraries.each(uri.module):
            for slot in self._slots(module, library):
                try:
                    token = slot.get_token()
                except _AWAY:
                    continue
                if _fits(uri, library, token):
                    found.append((module, token))
        return found

    def _slots(self, module: str, library: LockingLibrary) -> list[pkcs11.Slot]:
        try:
            return library.get_slots(token_present=True)
        except exceptions.DeviceError:
            self._restart(module)
            return library.get_slots(token_present=True)

    def _opened(self, module: str, token: pkcs11.Token) -> OpenToken:
        # Without a PIN: a token that is away fails here, before a login could count.
        first = token.open(attribute_mapper=attribute_mapper())
        sessions = [first]
        try:
            if token.flags & TokenFlag.LOGIN_REQUIRED:
                sessions[0] = self._logged_in(token, first)
            while len(sessions) < self._settings.sessions:
                sessions.append(token.open(attribute_mapper=attribute_mapper()))
        except BaseException:
            OpenToken(module, token, sessions).close()
            raise
        return OpenToken(module, token, sessions)

    def _logged_in(self, token: pkcs11.Token, first: pkcs11.Session) -> pkcs11.Session:
        place = self._settings.tokens.get(token.label, self._settings.pin)
        if place is None or self._latch is None:
            raise fault("pin_not_configured", f"tokens.{token.label}: the token wants a PIN and has none here")
        flags = token.flags
        for flag, reason in _HOPELESS.items():
            if flags & flag:
                raise fault(reason, f"token {token.label}: no PIN is presented; log in by hand to reset its counter")
        pin = read_pin(place, 1, LONGEST_PIN)
        session = self._latch.login(
            _identity(token),
            pin,
            _login(token, pin, first),
            rejected=PIN_REJECTED,
            unjudged=PIN_UNJUDGED,
            counted=bool(flags & TokenFlag.USER_PIN_COUNT_LOW),
        )
        if session is not first:
            first.close()
        return session


def _login(token: pkcs11.Token, pin: str, first: pkcs11.Session) -> Callable[[], pkcs11.Session]:
    def attempt() -> pkcs11.Session:
        try:
            return token.open(user_pin=pin, attribute_mapper=attribute_mapper())
        except exceptions.UserAlreadyLoggedIn:
            # Sessions that could not be closed have kept the login: it holds for the whole process.
            return first

    return attempt


def _identity(token: pkcs11.Token) -> str:
    return f"{token.manufacturer_id}\0{token.model}\0{token.serial.hex()}\0{token.label}"


def _fits(uri: KeyUri, library: LockingLibrary, token: pkcs11.Token) -> bool:
    slot = token.slot
    wanted = (
        (uri.token, token.label),
        (uri.serial, token.serial.decode(errors="replace")),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
        (uri.slot_id, slot.slot_id),
        (uri.slot_description, slot.slot_description),
        (uri.slot_manufacturer, slot.manufacturer_id),
        (uri.library_description, library.library_description),
        (uri.library_manufacturer, library.manufacturer_id),
        (uri.library_version, library.library_version),
    )
    return all(value is None or value == there for value, there in wanted)
