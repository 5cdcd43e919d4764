"""What is asked of an authenticator: to make a credential, to sign with one, to give the secret of one.

Each asks for a touch, and is over at the latest when the touch is not waited for any longer: the authenticator is told
to stop (CTAP 2.1, section 11.2.9.1.5), so that a touch that comes later does not sign what nobody waits for.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, TypeVar

from fido2.ctap import CtapError
from fido2.ctap2.base import AssertionResponse, AttestationResponse, Ctap2
from fido2.ctap2.pin import ClientPin

from signerd.secret_files.pins import read_pin
from signerd_key_fido2.failures import PROTOCOL, fault, forbidden, not_found, translated, unavailable
from signerd_key_fido2.latch import PinLatch
from signerd_key_fido2.raw import EXTENSION, signature_of
from signerd_key_fido2.settings import Settings
from signerd_key_fido2.transport import SILENCE_S, authenticator, places

__all__ = ["COSE_ALGORITHMS", "Asked", "Asker"]

COSE_ALGORITHMS: Final = {"FIDO2-ES256": -7, "FIDO2-Ed25519": -8}
"""RFC 9053, table 3."""
SALT_BYTES: Final = 32
PIN_LENGTHS: Final = (4, 63)
"""Code points at least, bytes at most (CTAP 2.1, section 6.5.1)."""
_SECRETS: Final = "hmac-secret"
_MAKE, _GET = ClientPin.PERMISSION.MAKE_CREDENTIAL, ClientPin.PERMISSION.GET_ASSERTION

T = TypeVar("T")


class _End(Event):
    """Is set once its time has come. The library asks it before each report that it reads."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def is_set(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._until


@dataclass(frozen=True, slots=True)
class Asked:
    """One authenticator, open, with an end to all that is asked of it."""

    ctap: Ctap2
    until: float
    latch: PinLatch
    settings: Settings

    @property
    def gives_secrets(self) -> bool:
        """Whether it has the extension hmac-secret (CTAP 2.1, section 12.5)."""
        return _SECRETS in self.ctap.info.extensions

    @property
    def signs_raw(self) -> bool:
        """Whether it has the extension previewSign (see :mod:`signerd_key_fido2.raw`)."""
        return EXTENSION in self.ctap.info.extensions

    def make(
        self,
        rp_id: str,
        user: dict[str, Any],
        algorithms: list[int],
        *,
        secret: bool = False,
        generating: dict[int, Any] | None = None,
    ) -> AttestationResponse:
        """Make a credential that is not discoverable; ``secret``: one that has a secret too; ``generating``: with a
        signing key beside it.

        What it signs with the new key is a random number. Raises as :func:`translated` says, and
        :meth:`_verification`.
        """
        wanted = hashlib.sha256(user["id"]).digest()
        options = self.ctap.info.options
        guarded = bool(options.get("clientPin")) and not options.get("makeCredUvNotRqd")
        needed = guarded or bool(options.get("alwaysUv")) or self.settings.user_verification
        verification = self._verification(wanted, _MAKE, rp_id) if needed else (None, None, None)
        extensions = ({_SECRETS: True} if secret else {}) | ({EXTENSION: generating} if generating else {})
        return self._ask(
            "making a credential",
            lambda: self.ctap.make_credential(
                wanted,
                {"id": rp_id, "name": rp_id},
                user,
                [{"type": "public-key", "alg": number} for number in algorithms],
                None,
                extensions or None,
                *verification,
                event=_End(self.until),
            ),
        )

    def get(
        self,
        rp_id: str,
        credential: bytes,
        hashed: bytes,
        *,
        verified: bool,
        salt: bytes = b"",
        signing: dict[int, Any] | None = None,
    ) -> tuple[AssertionResponse, bytes]:
        """Return an assertion over ``hashed``, for whom ``verified`` is demanded with the user verified, and the
        credential's secret under ``salt``, or its key's signature of what ``signing`` has, where one was given."""
        needed = verified or bool(self.ctap.info.options.get("alwaysUv"))
        verification = self._verification(hashed, _GET, rp_id) if needed else (None, None, None)
        asked: list[Mapping[str, Any]] = [{"type": "public-key", "id": credential}]
        protocol, shared, extensions = None, b"", {EXTENSION: signing} if signing else None
        if salt:
            protocol, shared, extensions = self._ask("agreeing on a key", lambda: self._salted(salt))
        response = self._ask(
            "asking for an assertion",
            lambda: self.ctap.get_assertion(
                rp_id, hashed, asked, extensions, *verification, event=_End(self.until)
            ),
        )
        if signing:
            return response, self._ask("reading a signature", lambda: signature_of(response))
        if protocol is None:
            return response, b""
        return response, self._ask("reading a secret", lambda: _secret(protocol, shared, response))

    def has(self, rp_id: str, credential: bytes) -> bool:
        """Whether it knows the credential, as far as it says so without a touch."""
        try:
            self.ctap.get_assertion(
                rp_id, bytes(32), [{"type": "public-key", "id": credential}], None, {"up": False}
            )
        except CtapError as exc:
            return exc.code not in (CtapError.ERR.NO_CREDENTIALS, CtapError.ERR.INVALID_CREDENTIAL)
        except (OSError, *PROTOCOL) as exc:
            raise translated(exc, "asking for a credential") from exc
        return True

    def _verification(
        self, hashed: bytes, permission: ClientPin.PERMISSION, rp_id: str
    ) -> tuple[dict[str, bool] | None, bytes | None, int | None]:
        """Have the user verified: by the PIN where one is configured, else by the authenticator itself.

        ``key.forbidden``, ``no_verification``, where it has neither; ``key.backend_fault``: ``pin_…``.
        """
        options = self.ctap.info.options
        if self.settings.pin and options.get("clientPin"):
            client = self._ask("speaking of a PIN", lambda: ClientPin(self.ctap))
            token = self._presented(client, read_pin(self.settings.pin, *PIN_LENGTHS), permission, rp_id)
        elif options.get("uv") and options.get("pinUvAuthToken"):
            client = self._ask("speaking of a PIN", lambda: ClientPin(self.ctap))
            token = self._ask(
                "verifying the user", lambda: client.get_uv_token(permission, rp_id, event=_End(self.until))
            )
        elif options.get("uv"):
            return {"uv": True}, None, None
        else:
            raise forbidden(
                "no_verification",
                "the authenticator cannot verify its user",
                "user verification is demanded, and the authenticator has no PIN or none is configured",
            )
        return None, client.protocol.authenticate(token, hashed), client.protocol.VERSION

    def _presented(self, client: ClientPin, pin: str, permission: ClientPin.PERMISSION, rp_id: str) -> bytes:
        retries, _ = self._ask("asking for retries", client.get_pin_retries)
        if not isinstance(retries, int):
            raise fault("device_protocol", "retries that are no number")
        return self._ask(
            "presenting the PIN",
            lambda: self.latch.present(pin, retries, lambda: client.get_pin_token(pin, permission, rp_id)),
        )

    def _salted(self, salt: bytes) -> tuple[Any, bytes, dict[str, Any]]:
        protocol = ClientPin(self.ctap).protocol
        answer = self.ctap.client_pin(protocol.VERSION, ClientPin.CMD.GET_KEY_AGREEMENT)
        agreement, shared = protocol.encapsulate(answer[ClientPin.RESULT.KEY_AGREEMENT])
        encrypted = protocol.encrypt(shared, salt)
        proof = protocol.authenticate(shared, encrypted)
        return protocol, shared, {_SECRETS: {1: agreement, 2: encrypted, 3: proof, 4: protocol.VERSION}}

    def _ask(self, doing: str, question: Callable[[], T]) -> T:
        try:
            return question()
        except (CtapError, OSError, *PROTOCOL) as exc:
            if time.monotonic() >= self.until:
                raise unavailable("no_touch", f"{doing}: {exc}") from exc
            raise translated(exc, doing) from exc


class Asker:
    """Opens authenticators: the one that is named, or the one that has the credential."""

    def __init__(self, settings: Settings, latch: PinLatch) -> None:
        self._settings = settings
        self._latch = latch

    @contextmanager
    def of(self, rp_id: str, credential: bytes) -> Iterator[Asked]:
        """Open the authenticator that has the credential; ``key.backend_unavailable``, ``device_absent``, where none
        is there, ``key.not_found``, ``not_on_device``, where others are."""
        found = self._places()
        for place in found:
            with self._opened(place) as asked:
                # One that tells nothing without a PIN says so only when it is asked in earnest.
                if len(found) == 1 or asked.has(rp_id, credential):
                    yield asked
                    return
        raise not_found("not_on_device", "no authenticator here has this credential")

    @contextmanager
    def only(self) -> Iterator[Asked]:
        """Open the one authenticator that is there; ``key.forbidden``, ``ambiguous_device``, where there are more."""
        found = self._places()
        if len(found) > 1:
            raise forbidden(
                "ambiguous_device", "there are several authenticators", f"name one of {', '.join(found)} by device"
            )
        with self._opened(found[0]) as asked:
            yield asked

    def _places(self) -> list[str]:
        found = places(self._settings.device)
        if not found:
            raise unavailable("device_absent", "no hidraw device of an authenticator is here, or none may be opened")
        return found

    @contextmanager
    def _opened(self, place: str) -> Iterator[Asked]:
        until = time.monotonic() + self._settings.touch_s
        with authenticator(place, until + SILENCE_S) as ctap:
            yield Asked(ctap, until, self._latch, self._settings)


def _secret(protocol: Any, shared: bytes, response: AssertionResponse) -> bytes:
    secret = protocol.decrypt(shared, (response.auth_data.extensions or {})[_SECRETS])
    if len(secret) != SALT_BYTES:
        raise ValueError("a secret of another length")
    return bytes(secret)
