"""A key worker with one flaw, for the kit that must find it: signerd's own server around a backend that errs.

``python -m fakes.flawed_worker --flaw FLAW --state DIR --fd N``. A key exists once it was generated, which a file in
DIR says; ``x:given`` always does. Ed25519, or ES256 where the reference ends in ``es256``.
"""

import argparse
import hashlib
import os
import socket
import time
from pathlib import Path
from typing import cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, Rotated, SignatureResult
from signerd.errors import Fault, Refusal
from signerd.host.link import Link
from signerd.wire.messages import Hello
from signerd.wire.worker_calls import BatchParams, BatchResult
from signerd.worker import process
from signerd.worker.calls import Calls, _Descriptors
from signerd.worker.key import Session

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Flawed:
    """The backend."""

    def __init__(self, flaw: str, state: Path) -> None:
        self.flaw = flaw
        self.state = state
        self.made: set[str] = set()
        self.replaced: set[str] = set()
        self.leaked: list[int] = []
        self._declared: tuple[str, ...] = ("generate",)

    @property
    def capabilities(self) -> tuple[str, ...]:
        if self.flaw == "not_served":  # asked first by the server, and then for every description
            now, self._declared = () if self._declared == ("generate",) else ("generate",), ("-",)
            return now
        return ("made-up",) if self.flaw == "capability" else ("generate", "rotate")

    def describe(self, key: str) -> KeyDescription:
        private = self._find(key)
        spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        by_digest = isinstance(private, ec.EllipticCurvePrivateKey)
        algorithm = "ES256" if by_digest else "Ed25519"
        return KeyDescription(
            "ES384" if self.flaw == "algorithm" else algorithm,
            f"sha256:{hashlib.sha256(b'' if self.flaw == 'keyid' else spki).hexdigest()}",
            spki + b"\0" if self.flaw == "spki" else spki,
            self.capabilities,
            (b"no certificate",) if self.flaw == "chain" else (),
            "sha256" if by_digest or self.flaw == "prehash" else None,
        )

    def sign(self, key: str, message: bytes) -> SignatureResult:
        private = self._find(key)
        if (self.flaw == "empty" and not message) or (self.flaw == "short" and len(message) > 65536):
            raise Fault("key.backend_fault", "size", "no")
        if self.flaw == "leaks":
            self.leaked.append(os.open(os.devnull, os.O_RDONLY))
        if self.flaw == "strips":
            message = message.rstrip(b"\0")
        if isinstance(private, ed25519.Ed25519PrivateKey):
            signature = private.sign(message)
        else:
            if len(message) != 32 and self.flaw != "takes_anything":
                raise Fault("key.backend_fault", "digest_length", "no")
            hashed = self.flaw == "hashes_again" or len(message) != 32
            signature = private.sign(message, ec.ECDSA(SHA256() if hashed else Prehashed(SHA256())))
            if self.flaw == "raw":
                signature = b"".join(number.to_bytes(32) for number in decode_dss_signature(signature))
        return SignatureResult(signature, self.describe(key).keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        if self.flaw == "overwrites":
            self.replaced.add(key)
        elif self._exists(key):
            raise Refusal("key.forbidden", "exists", "no")
        if algorithm not in ("Ed25519", "ES256"):
            raise Refusal("key.algorithm_refused", "unknown_algorithm", "no")
        self.made.add(key)
        if self.flaw != "forgets":
            self._note(key).touch()
        made = self.describe(key)
        return msgspec.structs.replace(made, algorithm="ES384") if self.flaw == "other_algorithm" else made

    def rotate(self, key: str, algorithm: str) -> Rotated:
        self._find(key)
        new = key.replace("x:", "x:2")
        made = self.generate(new, algorithm)
        return Rotated(key if self.flaw == "keeps_the_name" else new, made)

    def _note(self, key: str) -> Path:
        return self.state / hashlib.sha256(key.encode()).hexdigest()

    def _exists(self, key: str) -> bool:
        given = key in ("x:given", "x:given-es256") or self.flaw == "any_key"
        return given or key in self.made or self._note(key).exists()

    def _find(self, key: str) -> Private:
        if not self._exists(key):
            raise Refusal("key.forbidden" if self.flaw == "other_code" else "key.not_found", "no_such_key", "no")
        seed = hashlib.sha256(key.encode() + (b"2" if key in self.replaced else b"")).digest()
        if key.endswith("es256"):
            return ec.derive_private_key(int.from_bytes(seed), ec.SECP256R1())
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


class FlawedCalls(Calls):
    """The server's batches."""

    def __init__(self, backend: Flawed) -> None:
        super().__init__(cast("KeyBackend", backend), "flawed")
        self.flaw = backend.flaw

    def _batch(self, params: msgspec.Raw, descriptors: _Descriptors) -> msgspec.Raw:
        if self.flaw == "all_or_nothing":
            try:
                items = msgspec.msgpack.decode(params, type=BatchParams).items
            except msgspec.ValidationError:
                items = ()
            for item in items:
                self._one(item.method, item.params, descriptors)
        answered = super()._batch(params, descriptors)
        outcomes = msgspec.msgpack.decode(answered, type=BatchResult).outcomes
        if self.flaw == "reversed":
            outcomes = outcomes[::-1]
        elif self.flaw == "at_most_32":
            outcomes = outcomes[:32]
        return msgspec.Raw(msgspec.msgpack.encode(BatchResult(outcomes)))


class FlawedSession(Session):
    """The server's hello."""

    def __init__(self, calls: FlawedCalls) -> None:
        super().__init__(calls)
        self.any_version = calls.flaw == "any_version"

    def _hello(self, hello: Hello) -> bytes:
        return super()._hello(Hello((1,), "") if self.any_version else hello)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flaw", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args()
    link = Link(socket.socket(fileno=arguments.fd))
    session = FlawedSession(FlawedCalls(Flawed(arguments.flaw, arguments.state)))
    for arrived in process.frames(link):
        for frame, fds in arrived:
            if answer := session.answer(frame, fds):
                link.queue(answer)
        if not process.flush(link) or (session.over and arguments.flaw != "goes_on"):
            break
    link.close()
    if arguments.flaw == "stays":
        time.sleep(60)
    if arguments.flaw == "crashes":
        os.abort()


if __name__ == "__main__":
    main()
