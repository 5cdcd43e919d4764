import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from fakes.sigstore import spki
from signerd.attestation.dsse import Envelope, Signature, pae
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.signed import Signed, verify_message

P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
CONTENT = b"artefact"
DIGEST = hashlib.sha256(CONTENT)


def key(private: Any) -> PublicKey:
    return PublicKey.from_spki(spki(private))


def refused(*arguments: Any, **named: Any) -> str:
    with pytest.raises(Refusal) as caught:
        verify_message(*arguments, **named)
    return caught.value.reason


def test_an_envelope() -> None:
    message = pae("t", CONTENT)
    for private, scheme, name, hashed in (
        (P256, SHA256(), "SHA2_256", hashlib.sha256),
        (P384, SHA384(), "SHA2_384", hashlib.sha384),
    ):
        signature = private.sign(message, ec.ECDSA(scheme))
        envelope = Envelope("t", CONTENT, (Signature(signature, None),))
        signed = Signed.over_envelope(envelope, key(private), b"leaf")
        assert (signed.algorithm, signed.digest) == (name, hashed(message).digest())
        assert (signed.signature, signed.certificate, signed.envelope) == (signature, b"leaf", envelope)
        with pytest.raises(Refusal, match="signature_invalid"):
            Signed.over_envelope(Envelope("u", CONTENT, envelope.signatures), key(private), None)
    plain = Envelope("t", CONTENT, (Signature(ED25519.sign(message), None),))
    assert Signed.over_envelope(plain, key(ED25519), None).digest is None


def test_an_artefact_by_its_digest_or_itself() -> None:
    signature = P256.sign(CONTENT, ec.ECDSA(SHA256()))
    for given in (
        {"sha256": DIGEST.hexdigest(), "content": None},
        {"sha256": None, "content": CONTENT},
        {"sha256": DIGEST.hexdigest(), "content": CONTENT},
    ):
        signed = verify_message(signature, key(P256), None, **given)  # type: ignore[arg-type]
        assert (signed.algorithm, signed.digest, signed.envelope) == ("SHA2_256", DIGEST.digest(), None)
    assert refused(signature, key(P256), None, sha256="0" * 64, content=None) == "signature_invalid"
    assert refused(signature, key(P256), None, sha256=None, content=b"other") == "signature_invalid"
    assert refused(signature, key(P256), None, sha256=None, content=None) == "artifact_needed"


def test_keys_that_need_the_artefact_itself() -> None:
    wide, plain = P384.sign(CONTENT, ec.ECDSA(SHA384())), ED25519.sign(CONTENT)
    signed = verify_message(wide, key(P384), None, sha256=DIGEST.hexdigest(), content=CONTENT)
    assert (signed.algorithm, signed.digest) == ("SHA2_384", hashlib.sha384(CONTENT).digest())
    assert verify_message(plain, key(ED25519), None, sha256=None, content=CONTENT).digest is None
    for private, signature in ((P384, wide), (ED25519, plain)):
        assert refused(signature, key(private), None, sha256=DIGEST.hexdigest(), content=None) == "artifact_needed"
