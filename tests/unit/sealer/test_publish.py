import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from fakes.sealing import SoftKey
from signerd.attestation.canonical import canonicalise
from signerd.sealer.publish import publication
from signerd.verification.keys import PublicKey
from signerd.verification.validity import KeyValidity, read_validities
from signerd.wire.ring import RingEntry


def entry(private: PrivateKeyTypes, version: int = 1, **fields: object) -> RingEntry:
    public = PublicKey.from_spki(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    made = RingEntry("file:a", "local", version, public.keyid, public.algorithm, public.spki, "file", "active", 1000)
    return replace(made, **fields)


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


KEY = entry(ec.generate_private_key(ec.SECP256R1()))


CURVES: list[tuple[ec.EllipticCurve, str, str, int]] = [
    (ec.SECP256R1(), "P-256", "ES256", 32),
    (ec.SECP384R1(), "P-384", "ES384", 48),
    (ec.SECP521R1(), "P-521", "ES512", 66),
]


@pytest.mark.parametrize(("curve", "name", "algorithm", "size"), CURVES)
def test_an_elliptic_curve_key_comes_back_from_its_jwk(
    curve: ec.EllipticCurve, name: str, algorithm: str, size: int
) -> None:
    private = ec.generate_private_key(curve)
    (jwk,) = json.loads(publication([entry(private)], 5)["jwks.json"])["keys"]
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("EC", name, algorithm, "sig")
    assert len(jwk["x"]) == len(jwk["y"]) == -(-size * 8 // 6), "full length: RFC 7518, section 6.2.1.2"
    numbers = ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), curve)
    assert numbers.public_key() == private.public_key()


@pytest.mark.parametrize("algorithm", ["GOST3410-2012-256", "GOST3410-2012-512"])
def test_a_key_that_jose_has_no_name_for_is_there_with_its_spki(algorithm: str) -> None:
    made = SoftKey("gost:a", algorithm).entry
    files = publication([made, KEY], 5)
    second, first = json.loads(files["jwks.json"])["keys"]
    assert (first["kty"], first["alg"], first["kid"]) == ("x-spki", algorithm, made.keyid)
    assert base64.urlsafe_b64decode(first["spki"] + "==") == made.spki
    assert second["kty"] == "EC"
    assert read_validities(files["jwks.json"], files["revocations.json"])[made.keyid].added_at == made.added_at


def test_other_keys_too() -> None:
    edwards, modular = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    first, second = json.loads(publication([entry(edwards), entry(modular, 2)], 5)["jwks.json"])["keys"]
    assert (first["kty"], first["crv"], first["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert number(first["x"]).to_bytes(32) == edwards.public_key().public_bytes_raw()
    assert (second["kty"], second["alg"]) == ("RSA", "RS256")
    assert rsa.RSAPublicNumbers(number(second["e"]), number(second["n"])).public_key() == modular.public_key()


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "FIDO2-ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "FIDO2-Ed25519"),
    ],
)
def test_nobody_takes_a_credential_for_a_key_that_signs_statements(private: PrivateKeyTypes, algorithm: str) -> None:
    (jwk,) = json.loads(publication([entry(private, algorithm=algorithm)], 5)["jwks.json"])["keys"]
    assert (jwk["alg"], jwk["kty"]) == (algorithm, "x-spki")
    assert not {"crv", "x", "y"} & set(jwk)


def test_every_version_that_verifies_is_there_with_its_times() -> None:
    old = entry(ec.generate_private_key(ec.SECP256R1()), 1, status="retiring", retire_at=3000)
    new = entry(ec.generate_private_key(ec.SECP256R1()), 2, expires_at=9000)
    ended = {"status": "revoked", "revoked_at": 8, "cause": "superseded"}
    other = entry(ec.generate_private_key(ec.SECP256R1()), key="file:0", **ended)
    stolen = {"status": "revoked", "revoked_at": 8000, "cause": "compromised"}
    never = entry(ec.generate_private_key(ec.SECP256R1()), 3, **stolen, invalid_since=1000)
    late = entry(ec.generate_private_key(ec.SECP256R1()), 4, **stolen, invalid_since=7000)
    files = publication([new, late, old, never, other], 5000)
    assert [jwk["kid"] for jwk in json.loads(files["jwks.json"])["keys"]] == [
        other.keyid, old.keyid, new.keyid, late.keyid
    ]  # fmt: skip
    revocations = json.loads(files["revocations.json"])
    assert revocations["published_at"] == 5000
    assert [(each["keyid"], each["cause"], each.get("invalid_since")) for each in revocations["revoked"]] == [
        (other.keyid, "superseded", None),
        (never.keyid, "compromised", 1000),
        (late.keyid, "compromised", 7000),
    ]
    found = read_validities(files["jwks.json"], files["revocations.json"])
    assert found[old.keyid] == KeyValidity(1000, retire_at=3000)
    assert found[new.keyid] == KeyValidity(1000, expires_at=9000)
    assert found[late.keyid] == KeyValidity(1000, revoked_at=8000, cause="compromised", invalid_since=7000)


def test_the_files_are_canonical_and_the_same_for_the_same_ring() -> None:
    files = publication([KEY], 5)
    assert files == publication([KEY], 5)
    for text in files.values():
        assert canonicalise(text).text == text
    assert json.loads(files["trusted_root.json"]) == {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    }
