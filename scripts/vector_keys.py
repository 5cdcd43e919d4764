"""Vectors of keys and signatures, by the package cryptography alone. Private halves are public numbers."""

import base64
import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_ssh_public_key,
    ssh_key_fingerprint,
)

from protocol_vectors import KEYS

__all__ = ["ECDSA", "KEY_IDS"]

_SPKI: Final = Encoding.DER, PublicFormat.SubjectPublicKeyInfo


def _ids(comment: str, algorithm: str, spki: bytes) -> dict[str, object]:
    digest = hashlib.sha256(spki).digest()
    ssh = load_der_public_key(spki).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    fingerprint = ssh_key_fingerprint(load_ssh_public_key(ssh), SHA256())
    return {
        "comment": comment,
        "algorithm": algorithm,
        "spki_hex": spki.hex(),
        "keyid": f"sha256:{digest.hex()}",
        "hint": base64.b64encode(digest).decode(),
        "openssh": f"SHA256:{base64.b64encode(fingerprint).decode().rstrip('=')}",
    }


def _ec(curve: ec.EllipticCurve) -> bytes:
    return ec.derive_private_key(1, curve).public_key().public_bytes(*_SPKI)


_P256, _ED25519, _RSA = KEYS.values()
KEY_IDS: Final = {
    "comment": "The ids of a key: keyid is sha256: and the hex of the SHA-256 of its SPKI (DER), hint the same digest "
    "in base64 (a bundle's publicKey.hint), openssh the fingerprint of its OpenSSH form (a DSSE envelope's keyid).",
    "accept": [
        _ids("P-256, private value 1", "ES256", _P256),
        _ids("P-384, private value 1", "ES384", _ec(ec.SECP384R1())),
        _ids("P-521, private value 1", "ES512", _ec(ec.SECP521R1())),
        _ids("Ed25519, seed 00 01 ... 1f", "Ed25519", _ED25519),
        _ids(
            "another Ed25519, seed of zeros",
            "Ed25519",
            ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes(*_SPKI),
        ),
        _ids("RSA of 2048 bits", "RSA-PKCS1-SHA256", _RSA),
    ],
}

_CURVES: Final[dict[str, tuple[ec.EllipticCurve, HashAlgorithm, int]]] = {
    "ES256": (ec.SECP256R1(), SHA256(), 32),
    "ES384": (ec.SECP384R1(), SHA384(), 48),
}


def _signature(algorithm: str, number: int, comment: str) -> dict[str, object]:
    """A deterministic signature (RFC 6979) over ``vector NUMBER``: numbers were chosen for what comes of them."""
    curve, hashed, width = _CURVES[algorithm]
    key = ec.derive_private_key(1, curve)
    message = b"vector %d" % number
    der = key.sign(message, ec.ECDSA(hashed, deterministic_signing=True))
    raw = b"".join(part.to_bytes(width) for part in decode_dss_signature(der))
    return {
        "comment": comment,
        "algorithm": algorithm,
        "spki_hex": key.public_key().public_bytes(*_SPKI).hex(),
        "message_hex": message.hex(),
        "raw_hex": raw.hex(),
        "der_hex": der.hex(),
    }


def _broken(comment: str, change: str) -> dict[str, object]:
    good = _signature("ES256", 5, comment)
    raw, der = bytes.fromhex(str(good["raw_hex"])), bytes.fromhex(str(good["der_hex"]))
    r, s = der[4 : 4 + der[3]], der[6 + der[3] :]
    broken = {
        "raw": raw,
        "long_length": b"\x30\x81" + der[1:],
        "padded": b"\x30" + bytes([len(der) - 1]) + b"\x02" + bytes([len(r) + 1]) + b"\0" + r + der[4 + len(r) :],
        "behind": der + b"\0",
        "within": b"\x30" + bytes([len(der)]) + der[2:] + b"\x05\0",
        "cut": der[:-1],
        "negative": b"\x30" + der[1:4] + bytes([r[0] | 0x80]) + r[1:] + der[4 + len(r) :],
        "set": b"\x31" + der[1:],
        "indefinite": b"\x30\x80" + der[2:] + b"\0\0",
        "empty": b"",
    }[change]
    assert s
    return {name: good[name] for name in ("comment", "algorithm", "spki_hex", "message_hex")} | {
        "signature_hex": broken.hex()
    }


ECDSA: Final = {
    "comment": "ECDSA signatures as r||s of the curve's width, and as ASN.1 DER, which is what every worker returns. "
    "accept: both forms of one signature that verifies. refuse: a signature that is not DER, whatever it would mean.",
    "accept": [
        _signature("ES256", 5, "neither r nor s has its highest bit set: no zero is put before"),
        _signature("ES256", 2, "r has: a zero is put before it"),
        _signature("ES256", 0, "s has"),
        _signature("ES256", 12, "both have"),
        _signature("ES256", 83, "r begins with a zero byte, which goes"),
        _signature("ES256", 320, "r begins with a zero byte, which stays: the next has its highest bit set"),
        _signature("ES256", 509, "s begins with a zero byte, which goes"),
        _signature("ES256", 10990, "r begins with two"),
        _signature("ES256", 17982, "r and s begin with one each"),
        _signature("ES384", 3, "P-384: neither"),
        _signature("ES384", 0, "P-384: both have their highest bit set"),
        _signature("ES384", 15, "P-384: r begins with a zero byte, which goes"),
        _signature("ES384", 213, "P-384: s does"),
        _signature("ES384", 427, "P-384: r begins with a zero byte, which stays"),
    ],
    "refuse": [
        _broken("r||s", "raw"),
        _broken("a length in more bytes than it needs", "long_length"),
        _broken("a zero before r that it does not need", "padded"),
        _broken("a byte behind it", "behind"),
        _broken("a third value within it", "within"),
        _broken("a byte too few", "cut"),
        _broken("a negative r", "negative"),
        _broken("a SET for the SEQUENCE", "set"),
        _broken("the indefinite length of BER", "indefinite"),
        _broken("nothing", "empty"),
    ],
}
