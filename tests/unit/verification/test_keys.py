import base64
import dataclasses
import hashlib
import json
import mmap
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, utils, x25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from outside.parts import the
from signerd.attestation.dsse import pae
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

MESSAGE = b"DSSEv1 1 t 1 m"
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA2048 = rsa.generate_private_key(65537, 2048)

PRIVATE: dict[str, Any] = {
    "ES256": P256,
    "ES384": P384,
    "ES512": P521,
    "Ed25519": ED25519,
    "RSA-PKCS1-SHA256": RSA2048,
}
SIGNED = {
    "ES256": P256.sign(MESSAGE, ec.ECDSA(SHA256())),
    "ES384": P384.sign(MESSAGE, ec.ECDSA(SHA384())),
    "ES512": P521.sign(MESSAGE, ec.ECDSA(SHA512())),
    "Ed25519": ED25519.sign(MESSAGE),
    "RSA-PKCS1-SHA256": RSA2048.sign(MESSAGE, padding.PKCS1v15(), SHA256()),
}

# SPKI (base64), keyid, hint and OpenSSH fingerprint; the last three computed by openssl and ssh-keygen.
IDS = json.loads((Path(__file__).parent / "key_ids.json").read_text())


def spki(private: Any) -> bytes:
    encoded: bytes = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def refused(der: bytes) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        PublicKey.from_spki(der)
    return caught.value.code, caught.value.reason


def refusal(key: PublicKey, signature: bytes, message: bytes = MESSAGE) -> str:
    with pytest.raises(Refusal) as caught:
        key.verify(signature, message)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_verifies_its_own_and_nothing_else(algorithm: str) -> None:
    key = PublicKey.from_spki(spki(PRIVATE[algorithm]))
    assert key.algorithm == algorithm
    signature = SIGNED[algorithm]
    key.verify(signature, MESSAGE)
    assert refusal(key, signature, MESSAGE + b"x") == "signature_invalid"
    assert refusal(key, b"") in ("signature_invalid", "signature_not_der")
    altered = bytearray(signature)
    altered[-1] ^= 1
    assert refusal(key, bytes(altered)) == "signature_invalid"
    for other, foreign in PRIVATE.items():
        if other != algorithm:
            with pytest.raises(Refusal):
                PublicKey.from_spki(spki(foreign)).verify(signature, MESSAGE)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_verifies_over_a_digest_where_the_algorithm_hashes_with_sha256(algorithm: str) -> None:
    key, digest = PublicKey.from_spki(spki(PRIVATE[algorithm])), hashlib.sha256(MESSAGE).digest()
    assert key.prehash == (algorithm in ("ES256", "RSA-PKCS1-SHA256"))
    if not key.prehash:
        with pytest.raises(ValueError, match="SHA-256"):
            key.verify_prehashed(SIGNED[algorithm], digest)
        return
    key.verify_prehashed(SIGNED[algorithm], digest)
    with pytest.raises(Refusal, match="signature_invalid"):
        key.verify_prehashed(SIGNED[algorithm], hashlib.sha256(b"").digest())
    if algorithm == "ES256":
        with pytest.raises(Refusal, match="signature_not_der"):
            key.verify_prehashed(SIGNED[algorithm] + b"\0", digest)


@pytest.mark.parametrize(
    ("algorithm", "foreign"), [("ES256", SHA384()), ("ES384", SHA256()), ("ES512", SHA256())]
)
def test_a_curve_has_one_hash(algorithm: str, foreign: Any) -> None:
    signature = PRIVATE[algorithm].sign(MESSAGE, ec.ECDSA(foreign))
    assert refusal(PublicKey.from_spki(spki(PRIVATE[algorithm])), signature) == "signature_invalid"


def test_rsa_has_one_padding_and_one_hash() -> None:
    key = PublicKey.from_spki(spki(RSA2048))
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    assert refusal(key, RSA2048.sign(MESSAGE, pss, SHA256())) == "signature_invalid"
    assert refusal(key, RSA2048.sign(MESSAGE, padding.PKCS1v15(), SHA512())) == "signature_invalid"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_an_ecdsa_signature_is_strict_der(algorithm: str) -> None:
    key = PublicKey.from_spki(spki(PRIVATE[algorithm]))
    signature = SIGNED[algorithm]
    r, s = utils.decode_dss_signature(signature)
    size = (PRIVATE[algorithm].key_size + 7) // 8
    header = 3 if signature[1] & 0x80 else 2
    body = signature[header:]
    forms = {
        "raw r||s": r.to_bytes(size, "big") + s.to_bytes(size, "big"),
        "trailing byte": signature + b"\0",
        "truncated": signature[:-1],
        "long form of a short length": b"\x30\x82" + len(body).to_bytes(2, "big") + body,
        "indefinite length": b"\x30\x80" + body + b"\0\0",
        "integer with a zero too many": b"\x30"
        + length(len(body) + 1)
        + b"\x02"
        + bytes([body[1] + 1])
        + b"\0"
        + body[2:],
    }
    for name, form in forms.items():
        assert refusal(key, form) == "signature_not_der", name
    zero = utils.encode_dss_signature(0, s)
    assert refusal(key, zero) == "signature_invalid"


def length(count: int) -> bytes:
    return bytes([count]) if count < 128 else bytes([0x81, count])


@pytest.mark.needs("vectors")
def test_the_published_signature_in_der_and_not_as_published() -> None:
    vector = json.loads((the("vectors") / "dsse" / "protocol-v1.0.2-vector.json").read_text())
    numbers = vector["ecdsa_p256"]
    point = ec.EllipticCurvePublicNumbers(int(numbers["x"]), int(numbers["y"]), ec.SECP256R1()).public_key()
    key = PublicKey.from_spki(point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    message = pae(vector["payloadType"], vector["payload_utf8"].encode())
    key.verify(base64.b64decode(vector["signature_der_base64_derived"]), message)
    assert refusal(key, base64.b64decode(vector["signature_raw_rs_base64"]), message) == "signature_not_der"


@pytest.mark.parametrize("name", IDS)
def test_the_three_ids(name: str) -> None:
    wanted = IDS[name]
    key = PublicKey.from_spki(base64.b64decode(wanted["spki"]))
    assert key.algorithm == name.split(" ", maxsplit=1)[0]
    assert (key.keyid, key.hint, key.openssh_fingerprint) == (
        wanted["keyid"],
        wanted["hint"],
        wanted["openssh_fingerprint"],
    )
    assert key.envelope_keyid == wanted["openssh_fingerprint"]
    assert PublicKey.from_pem(key.pem) == key


@pytest.mark.needs("vectors")
def test_the_fingerprint_is_what_npm_writes_as_hint() -> None:
    folder = the("vectors") / "sigstore-go" / "examples"
    hint = json.loads((folder / "bundle-publish.json").read_text())["verificationMaterial"]["publicKey"][
        "hint"
    ]
    assert PublicKey.from_pem((folder / "publish_key.pub").read_text()).openssh_fingerprint == hint


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen: run scripts/setup --system as root")
@pytest.mark.parametrize("algorithm", PRIVATE)
def test_the_fingerprint_is_what_ssh_keygen_shows(algorithm: str, tmp_path: Path) -> None:
    public = PRIVATE[algorithm].public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (tmp_path / "key.pub").write_bytes(public + b"\n")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert PublicKey.from_spki(spki(PRIVATE[algorithm])).openssh_fingerprint == shown.split()[1]


def test_a_key_that_ssh_does_not_have_goes_by_its_inside_id() -> None:
    key = PublicKey.from_spki(spki(P256))
    other = dataclasses.replace(key, openssh_fingerprint=None)
    assert other.envelope_keyid == f"sha256:{hashlib.sha256(key.spki).hexdigest()}"


def test_keys_are_equal_by_spki_and_can_be_told_apart_in_a_set() -> None:
    assert (
        len(
            {
                PublicKey.from_spki(spki(P256)),
                PublicKey.from_spki(spki(P256)),
                PublicKey.from_spki(spki(P384)),
            }
        )
        == 2
    )


@pytest.mark.parametrize(
    ("private", "reason"),
    [
        (rsa.generate_private_key(65537, 1024), "rsa_size"),  # noqa: S505  # weak on purpose
        (ec.generate_private_key(ec.SECP256K1()), "curve"),
        (ec.generate_private_key(ec.SECP224R1()), "curve"),
        (ed448.Ed448PrivateKey.generate(), "key_type"),
        (x25519.X25519PrivateKey.generate(), "key_type"),
        (dsa.generate_private_key(1024), "key_type"),  # noqa: S505  # weak on purpose
    ],
)
def test_other_keys_are_refused(private: Any, reason: str) -> None:
    assert refused(spki(private)) == ("key.algorithm_refused", reason)


def test_an_rsa_key_above_4096_bits_is_refused() -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << 4159) | (1 << 2000) | 1)
    der = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert refused(der) == ("key.algorithm_refused", "rsa_size")


def test_another_encoding_of_the_same_key_is_refused() -> None:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    assert refused(head + point) == ("request.malformed", "key_malformed")
    assert refused(spki(P256) + b"\0") == ("request.malformed", "key_malformed")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\n" + "A" * 20_000,
        "\ud800",
        PublicKey.from_spki(spki(P256)).pem * 2,
        ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        RSA2048.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    ],
)
def test_text_that_is_no_public_key_is_refused(text: str | bytes) -> None:
    with pytest.raises(Refusal, match="key_malformed"):
        PublicKey.from_pem(text)


@given(st.binary(max_size=120), st.integers(0, 90), st.binary(max_size=3))
@settings(max_examples=300)
def test_any_bytes_give_a_key_or_a_refusal(noise: bytes, place: int, damage: bytes) -> None:
    good = spki(P256)
    for der in (noise, good[:place] + damage + good[place + len(damage) :]):
        try:
            PublicKey.from_spki(der)
        except Refusal as refusal:
            assert refusal.code in ("request.malformed", "key.algorithm_refused")  # noqa: PT017  # it may succeed too


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_message_may_be_mapped(algorithm: str) -> None:
    key = PublicKey.from_spki(spki(PRIVATE[algorithm]))
    with mmap.mmap(-1, len(MESSAGE)) as mapped:
        mapped[:] = MESSAGE
        key.verify(SIGNED[algorithm], mapped)
        mapped[0] ^= 1
        with pytest.raises(Refusal, match="signature_invalid"):
            key.verify(SIGNED[algorithm], mapped)
    key.verify(SIGNED[algorithm], memoryview(MESSAGE))


# A key of RFC 9215's kind, made by OpenSSL's engine: TC26-512-A, its hash named, as the engine writes it.
GOST_PEM = """-----BEGIN PUBLIC KEY-----
MIGqMCEGCCqFAwcBAQECMBUGCSqFAwcBAgECAQYIKoUDBwEBAgMDgYQABIGAbauy
p9NmMczgZGPzKAdtggXM3OL0Xl4mwupOWGp3BdAF9hxYJGokDoNbHpwNbY8aB7ln
oQHYsIiE5oAcktcYbVHSbQZo+/Qc3xJSV0RYkIsWYTF4jF7GT8HTeEsbhlBM5gEi
C3wygiESgo7O3eRNS4FsaNHdktMGyHfrAm2nKFE=
-----END PUBLIC KEY-----
"""


def test_a_gost_key_has_the_ids_of_its_one_encoding() -> None:
    key = PublicKey.from_pem(GOST_PEM)
    assert (key.algorithm, key.own_hash, key.prehash) == ("GOST3410-2012-512", "Streebog-512", False)
    assert key.openssh_fingerprint is None
    assert key.envelope_keyid == key.keyid == f"sha256:{hashlib.sha256(key.spki).hexdigest()}"
    # RFC 9215, section 4.2: the hash should be left out for this parameter set.
    written = base64.b64decode("".join(GOST_PEM.splitlines()[1:-1]))
    assert len(key.spki) == len(written) - 10
    assert refused(written) == ("request.malformed", "key_malformed")
    assert PublicKey.from_spki(key.spki) == PublicKey.from_pem(key.pem) == key
    assert PublicKey.from_pem(GOST_PEM.replace("\n", "\r\n").encode()) == key


@pytest.mark.parametrize(
    "text",
    [
        GOST_PEM.replace("MIGq", "MIGr"),
        GOST_PEM.replace("\n-----END", "A\n-----END"),
        GOST_PEM.replace("\n-----END", "AAAA\n-----END"),
        GOST_PEM + "x",
    ],
)
def test_a_malformed_gost_pem_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        PublicKey.from_pem(text)
    assert caught.value.code in {"request.malformed", "key.algorithm_refused"}


def test_what_reads_gost_keys_is_loaded_for_one() -> None:
    program = "import sys, signerd.verification.keys; sys.exit('signerd.verification.gost' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
