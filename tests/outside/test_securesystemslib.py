"""securesystemslib judges the combined DSSE envelope, and looks at nothing else: two signers, one payload."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from outside.signed import SPOILED, Key, statement
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import PAYLOAD_TYPE

pytestmark = pytest.mark.needs("securesystemslib")

FIRST, SECOND, STRANGER = Key("ES256"), Key("Ed25519"), Key("ES256")


def combined(*keys: Key) -> dict[str, Any]:
    payload = statement()
    message = pae(PAYLOAD_TYPE, payload)
    signatures = [Signature(key.sign(message), key.hint) for key in keys]
    envelope: dict[str, Any] = json.loads(encode_envelope(encode_base64(payload), PAYLOAD_TYPE, signatures))
    return envelope


def judge(envelope: dict[str, Any], *keys: Key, named: Callable[[Key], str] = lambda key: key.hint) -> int:
    """How many of the keys signed it; VerificationError unless all did."""
    trusted = [SSlibKey.from_crypto(key.public, keyid=named(key)) for key in keys]
    return len(Envelope.from_dict(envelope).verify(trusted, threshold=len(keys)))


def test_it_accepts_both_signatures() -> None:
    assert judge(combined(FIRST, SECOND), FIRST, SECOND) == 2


@pytest.mark.parametrize("key", [FIRST, SECOND], ids=["ES256", "Ed25519"])
def test_it_accepts_each_alone(key: Key) -> None:
    assert judge(combined(FIRST, SECOND), key) == 1


def test_it_refuses_a_wrong_key() -> None:
    with pytest.raises(VerificationError):
        judge(combined(FIRST, SECOND), STRANGER, named=lambda _: FIRST.hint)


def test_it_refuses_a_signer_that_is_missing() -> None:
    with pytest.raises(VerificationError):
        judge(combined(FIRST), FIRST, SECOND)


@pytest.mark.parametrize("how", ["altered payload", "altered signature", "altered payload type"])
def test_it_refuses_what_is_spoiled(how: str) -> None:
    bundle = {"dsseEnvelope": combined(FIRST)}
    SPOILED[how](bundle)
    with pytest.raises(VerificationError):
        judge(bundle["dsseEnvelope"], FIRST)


def test_it_refuses_one_signer_counted_twice() -> None:
    bundle = {"dsseEnvelope": combined(FIRST)}
    SPOILED["two signatures"](bundle)
    with pytest.raises(ValueError, match="Multiple signatures"):
        judge(bundle["dsseEnvelope"], FIRST)
