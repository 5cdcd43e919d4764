"""pycose, an implementation of its own: it verifies our messages, and we verify its; what is altered is refused.

Its ECDSA is python-ecdsa's, its CBOR cbor2's.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from outside.parts import the
from outside.signed import Key, statement
from signerd.attestation.cbor import cbor
from signerd.attestation.cose import cose_head, cose_tail, protected_header, signature_structure
from signerd.errors import Refusal
from signerd.verification.cose import verify_cose
from signerd.verification.fixed_length import to_fixed
from signerd.verification.keys import PublicKey

pytestmark = pytest.mark.needs("pycose")

PROGRAM = Path(__file__).with_name("pycose.py")
PAYLOAD = statement()
CURVES = {"ES256": ("P_256", 32), "ES384": ("P_384", 48), "ES512": ("P_521", 66)}
NAMES = {"ES256": "ES256", "ES384": "ES384", "ES512": "ES512", "Ed25519": "EDDSA"}


def ask(*requests: dict[str, Any]) -> list[str]:
    command = [sys.executable, "-I", PROGRAM, the("pycose")]
    done = subprocess.run(command, input=json.dumps(requests).encode(), capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    answers: list[str] = json.loads(done.stdout)
    return answers


def parts(key: Key) -> dict[str, str]:
    """The key pair as pycose takes it."""
    if isinstance(key.private, ed25519.Ed25519PrivateKey):
        x = key.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        d = key.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return {"crv": "ED25519", "x": x.hex(), "d": d.hex()}
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    curve, size = CURVES[key.algorithm]
    numbers = key.private.private_numbers()
    point = numbers.public_numbers
    sized = {"x": point.x, "y": point.y, "d": numbers.private_value}
    return {"crv": curve, **{name: value.to_bytes(size, "big").hex() for name, value in sized.items()}}


def ours(key: Key, payload: bytes = PAYLOAD) -> bytes:
    header = protected_header(key.algorithm, hashlib.sha256(key.spki).digest())
    signature = key.sign(signature_structure(header, len(payload)) + payload)
    return cose_head(header, len(payload)) + payload + cose_tail(to_fixed(key.algorithm, signature))


def to_verify(key: Key, message: bytes, payload: bytes = PAYLOAD) -> dict[str, Any]:
    return {"do": "verify", "key": parts(key), "message": message.hex(), "payload": payload.hex()}


@pytest.mark.parametrize("algorithm", NAMES)
def test_it_verifies_ours_and_nothing_altered(algorithm: str) -> None:
    key, stranger = Key(algorithm), Key(algorithm)
    message = ours(key)
    altered = [
        message.replace(b"artifact", b"artefact", 1),
        message[:-1] + bytes([message[-1] ^ 1]),
        message.replace(b"in-toto+json", b"in-toto+jsom", 1),
        message.replace(hashlib.sha256(key.spki).digest(), bytes(32), 1),
    ]
    assert all(one != message for one in altered)
    good, foreign, *spoiled = ask(
        to_verify(key, message),
        to_verify(stranger, message),
        *[to_verify(key, one, PAYLOAD.replace(b"artifact", b"artefact", 1)) for one in altered[:1]],
        *[to_verify(key, one) for one in altered[1:]],
    )
    assert good == "yes"
    assert foreign == "no"
    assert spoiled == ["no"] * len(altered)


@pytest.mark.parametrize("algorithm", NAMES)
def test_we_verify_its_and_nothing_altered(algorithm: str) -> None:
    key, stranger = Key(algorithm), Key(algorithm)
    asked = {"do": "sign", "key": parts(key), "algorithm": NAMES[algorithm], "payload": PAYLOAD.hex()}
    without, with_id = (bytes.fromhex(text) for text in ask(asked, {**asked, "kid": "00" * 32}))
    public = PublicKey.from_spki(key.spki)
    assert verify_cose(without, public) == verify_cose(with_id, public) == PAYLOAD
    for spoiled in (without[:-1] + bytes([without[-1] ^ 1]), without.replace(b"artifact", b"artefact", 1)):
        with pytest.raises(Refusal):
            verify_cose(spoiled, public)
    with pytest.raises(Refusal):
        verify_cose(without, PublicKey.from_spki(stranger.spki))


def test_it_makes_the_same_bytes_with_a_key_that_signs_deterministically() -> None:
    key = Key("Ed25519")
    key_id = hashlib.sha256(key.spki).hexdigest()
    asked = {"do": "sign", "key": parts(key), "algorithm": "EDDSA", "payload": PAYLOAD.hex(), "kid": key_id}
    assert ask(asked) == [ours(key).hex()]


def test_cbor2_writes_our_items_the_same() -> None:
    items = [
        cbor({1: -7, 3: "application/vnd.in-toto+json", 4: bytes(32)}),
        cbor(("Signature1", b"\xa0", b"", bytes(300))),
        cbor({24: (1 << 32, -(1 << 40)), "key": {"nested": (True, None)}}),
        ours(Key()),
    ]
    assert ask(*[{"do": "canonical", "item": item.hex()} for item in items]) == [item.hex() for item in items]
