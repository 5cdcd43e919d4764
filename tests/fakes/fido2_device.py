"""A CTAP2 authenticator of software, behind a Unix socket: credentials, touch, PIN, hmac-secret, flaws on demand.

It keeps its credentials in memory and never tells a private key. ``flaws`` make it lie: each is a word that
:data:`FLAWS` explains. With ``previewSign`` among its extensions it has
that draft too.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256, CoseKey, EdDSA
from fido2.ctap import CtapError
from fido2.ctap2.pin import PinProtocolV2
from fido2.webauthn import Aaguid, AttestedCredentialData, AuthenticatorData

from fakes.ctaphid import Channel, HidServer, Status
from fakes.preview_sign import EXTENSION, RAW_ALGORITHMS, SigningKey

__all__ = ["AAGUID", "FLAWS", "SoftAuthenticator", "plugged_in"]

AAGUID = "5159eb8e-0000-4000-8000-736967646572"
FLAWS = {
    "another key": "signs with a key that it made up just now",
    "another raw key": "signs what it is given with a key that it made up just now",
    "another digest": "signs another digest than the one it was given",
    "another rp": "says that it signed for another relying party",
    "counter back": "counts downwards",
    "declined": "says that its holder has declined",
    "garbage": "answers with bytes that are no CBOR",
    "mute": "says nothing at all",
    "no map": "answers with CBOR that is no map",
    "no presence": "signs without a touch, and says so",
    "no verification": "signs without having verified its user, and says so",
    "other shape": "answers with a map of other things",
    "raw denied": "says that it has previewSign, and makes no signing key",
    "wrong secret": "gives another secret than it gave before",
}
_NO_ANSWERS = {"garbage": b"\xff\xff", "no map": b"\x01", "other shape": b"\xa1\x01\x02"}
ERR = CtapError.ERR
RETRIES = 8
UP_NEEDED = 2
FLAG = AuthenticatorData.FLAG


class _Key:
    """One credential. The authenticator has two secrets of each, without and with its user verified."""

    def __init__(self, rp_id: str, algorithm: int) -> None:
        self.rp_id = rp_id
        self.private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        self.public: CoseKey
        if algorithm == ES256.ALGORITHM:
            self.private = ec.generate_private_key(ec.SECP256R1())
            self.public = ES256.from_cryptography_key(self.private.public_key())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()
            self.public = EdDSA.from_cryptography_key(self.private.public_key())
        self.raw: SigningKey | None = None
        self.secrets = (os.urandom(32), os.urandom(32))

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(SHA256()))


class SoftAuthenticator:
    """``touch`` as a person would, or set ``touched_at_once``; :meth:`wait_asked` waits until it asks for one."""

    def __init__(self, pin: str = "", *, touched_at_once: bool = True, extensions: tuple[str, ...] = ()) -> None:
        self.pin = pin
        self.touched_at_once = touched_at_once
        self.extensions = extensions or ("hmac-secret",)
        self.algorithms = (ES256.ALGORITHM, EdDSA.ALGORITHM)
        self.raw_algorithms: tuple[int, ...] = RAW_ALGORITHMS
        """How it signs what it is given, if it has previewSign."""
        self.retries = RETRIES
        self.flaws: set[str] = set()
        self.keys: dict[bytes, _Key] = {}
        self.counter = 0
        self.presented = 0
        """How often a PIN was presented."""
        self.asked = 0
        """How often a touch was asked for."""
        self.cancelled = 0
        self.place = ""
        """What the setting ``device`` calls it."""
        self.hang_up: Callable[[], None] = lambda: None
        """Leave whoever asks, in the middle."""
        self.pin_judged: Callable[[], None] = lambda: None
        """Called when a PIN has been counted, and nobody told."""
        self._fingers = 0
        self._told = threading.Condition()
        self._protocol = PinProtocolV2()
        self._agreement = ec.generate_private_key(ec.SECP256R1())
        self._token = os.urandom(32)

    def touch(self) -> None:
        """Touch it once: what waits for it goes on, or what comes next does."""
        with self._told:
            self._fingers += 1

    def wait_asked(self, times: int = 1, seconds: float = 30) -> None:
        """Wait until a touch has been asked for so many times."""
        with self._told:
            assert self._told.wait_for(lambda: self.asked >= times, seconds)

    def answer(self, channel: Channel, request: bytes) -> bytes:
        """Answer one CTAP2 command: a status, and CBOR behind it."""
        if "mute" in self.flaws:
            return b""
        for flaw, said in _NO_ANSWERS.items():
            if flaw in self.flaws and request[0] != 0x04:
                return b"\0" + said
        parameters: dict[int, Any] = dict(cbor.decode(request[1:])) if len(request) > 1 else {}
        commands = {0x01: self._make, 0x02: self._get, 0x04: self._info, 0x06: self._client_pin}
        try:
            return b"\0" + cbor.encode(commands[request[0]](channel, parameters))
        except Status as status:
            return bytes([status.args[0]])
        except KeyError:
            return bytes([ERR.MISSING_PARAMETER])

    def _info(self, channel: Channel, parameters: dict[int, Any]) -> dict[int, Any]:
        options = {"rk": False, "up": True, "clientPin": bool(self.pin), "pinUvAuthToken": True}
        aaguid = bytes(Aaguid.parse(AAGUID))
        named = [{"alg": number, "type": "public-key"} for number in self.algorithms]
        info = {1: ["FIDO_2_0", "FIDO_2_1"], 2: list(self.extensions), 3: aaguid, 4: options, 5: 1200, 6: [2]}
        return {**info, 9: ["usb"], 10: named}

    def _make(self, channel: Channel, parameters: dict[int, Any]) -> dict[int, Any]:
        flags = FLAG.UP | FLAG.AT | self._verified(parameters, 8, 9, parameters[1], needed=bool(self.pin))
        wanted = next((each["alg"] for each in parameters[4] if each["alg"] in self.algorithms), None)
        if wanted is None:
            raise Status(ERR.UNSUPPORTED_ALGORITHM)
        self._wait_touched(channel)
        number, key = os.urandom(32), _Key(parameters[2]["id"], wanted)
        self.keys[number] = key
        extensions: dict[str, Any] = {"hmac-secret": True} if parameters.get(6, {}).get("hmac-secret") else {}
        unsigned: dict[str, Any] = {}
        asked = parameters.get(6, {}).get(EXTENSION) if EXTENSION in self.extensions else None
        if asked and "raw denied" not in self.flaws:
            key.raw = SigningKey(asked, self.raw_algorithms)
            extensions[EXTENSION], unsigned[EXTENSION] = key.raw.told(parameters[2]["id"])
        flags |= FLAG.ED if extensions else 0
        rp = hashlib.sha256(key.rp_id.encode()).digest()
        data = AttestedCredentialData.create(Aaguid.parse(AAGUID), number, key.public)
        made = AuthenticatorData.create(rp, flags, self.counter, bytes(data), extensions or None)
        statement = {"alg": wanted, "sig": key.sign(bytes(made) + parameters[1])}
        return {1: "packed", 2: bytes(made), 3: statement, **({6: unsigned} if unsigned else {})}

    def _get(self, channel: Channel, parameters: dict[int, Any]) -> dict[int, Any]:
        allowed = [each["id"] for each in parameters[3]]
        number = next((each for each in allowed if each in self.keys), None)
        if number is None or self.keys[number].rp_id != parameters[1]:
            raise Status(ERR.NO_CREDENTIALS)
        key, flags = self.keys[number], self._verified(parameters, 6, 7, parameters[2], needed=False)
        if parameters.get(5, {}).get("up", True):
            if "no presence" not in self.flaws:
                self._wait_touched(channel)
                flags |= FLAG.UP
            self.counter += -1 if "counter back" in self.flaws else 1
        extensions: dict[str, Any] = {}
        if asked := parameters.get(4, {}).get("hmac-secret"):
            flags |= FLAG.ED
            extensions["hmac-secret"] = self._secret(key, asked, verified=bool(flags & FLAG.UV))
        if key.raw and (asked := parameters.get(4, {}).get(EXTENSION)):
            flags |= FLAG.ED
            extensions[EXTENSION] = key.raw.signed(asked, flags, self.flaws)
        if "no verification" in self.flaws:
            flags &= ~FLAG.UV
        rp_id = "evil.example" if "another rp" in self.flaws else key.rp_id
        hashed = hashlib.sha256(rp_id.encode()).digest()
        data = AuthenticatorData.create(hashed, flags, self.counter, b"", extensions or None)
        signer = _Key(rp_id, key.public.ALGORITHM) if "another key" in self.flaws else key
        signature = signer.sign(bytes(data) + parameters[2])
        return {1: {"type": "public-key", "id": number}, 2: bytes(data), 3: signature}

    def _client_pin(self, channel: Channel, parameters: dict[int, Any]) -> dict[int, Any]:
        asked = parameters[2]
        if asked == 0x01:
            return {3: self.retries}
        if asked == 0x02:
            return {1: {**ES256.from_cryptography_key(self._agreement.public_key()), 3: -25}}
        if asked not in (0x05, 0x09):
            raise Status(ERR.INVALID_SUBCOMMAND)
        if not self.pin:
            raise Status(ERR.PIN_NOT_SET)
        if not self.retries:
            raise Status(ERR.PIN_BLOCKED)
        shared = self._shared(parameters[3])
        self.presented += 1
        self.retries -= 1
        given = self._protocol.decrypt(shared, parameters[6])
        right = hmac.compare_digest(given, hashlib.sha256(self.pin.encode()).digest()[:16])
        if right:
            self.retries = RETRIES
        self.pin_judged()
        if not right:
            raise Status(ERR.PIN_INVALID if self.retries else ERR.PIN_BLOCKED)
        return {2: self._protocol.encrypt(shared, self._token)}

    def _verified(self, parameters: dict[int, Any], at: int, version: int, hashed: bytes, *, needed: bool) -> int:
        proof = parameters.get(at)
        if proof is None:
            if needed:
                raise Status(ERR.PUAT_REQUIRED)
            return 0
        assert parameters[version] == PinProtocolV2.VERSION
        if not hmac.compare_digest(proof, self._protocol.authenticate(self._token, hashed)):
            raise Status(ERR.PIN_AUTH_INVALID)
        return int(FLAG.UV)

    def _secret(self, key: _Key, asked: dict[int, Any], *, verified: bool) -> bytes:
        shared = self._shared(asked[1])
        if not hmac.compare_digest(asked[3], self._protocol.authenticate(shared, asked[2])):
            raise Status(ERR.PIN_AUTH_INVALID)
        salt = self._protocol.decrypt(shared, asked[2])
        seed = os.urandom(32) if "wrong secret" in self.flaws else key.secrets[verified]
        return self._protocol.encrypt(shared, hmac.digest(seed, salt, "sha256"))

    def _shared(self, agreement: dict[int, Any]) -> bytes:
        x, y = (int.from_bytes(agreement[label], "big") for label in (-2, -3))
        other = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        return self._protocol.kdf(self._agreement.exchange(ec.ECDH(), other))

    def _wait_touched(self, channel: Channel) -> None:
        with self._told:
            self.asked += 1
            self._told.notify_all()
        if "declined" in self.flaws:
            raise Status(ERR.OPERATION_DENIED)
        while not self._is_touched():
            if channel.beat(UP_NEEDED):
                self.cancelled += 1
                raise Status(ERR.KEEPALIVE_CANCEL)

    def _is_touched(self) -> bool:
        with self._told:
            if self.touched_at_once:
                return True
            self._fingers, touched = max(self._fingers - 1, 0), self._fingers > 0
            return touched


@contextmanager
def plugged_in(path: Path, authenticator: SoftAuthenticator | None = None) -> Iterator[SoftAuthenticator]:
    """Have an authenticator at ``unix:`` and this path, for as long as the block runs."""
    device = authenticator or SoftAuthenticator()
    server = HidServer(path, device.answer)
    device.place, device.hang_up = f"unix:{path}", server.hang_up
    try:
        yield device
    finally:
        server.close()
