import hashlib
import hmac

import msgspec
import pytest

from signerd.errors import Refusal
from signerd.wire.messages import Error, Hello
from signerd.wire.worker_auth import Auth, Proof, auth_mac, told

CREDENTIAL = bytes(range(32))
CLIENT, SERVER = b"c" * 32, b"s" * 32
encode = msgspec.msgpack.encode


def pair(credential: bytes = CREDENTIAL) -> tuple[Proof, Proof]:
    """Both sides after their hellos."""
    sealer, worker = Proof(CREDENTIAL, "sealer", CLIENT), Proof(credential, "worker", SERVER)
    worker.meet(Hello((1,), "sealer", nonce=sealer.nonce))
    sealer.meet(Hello((1,), "worker", version=1, nonce=worker.nonce))
    return sealer, worker


def reason(proof: Proof, frame: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        proof.check(frame)
    return caught.value.reason


def test_both_sides_prove_what_they_hold() -> None:
    sealer, worker = pair()
    worker.check(encode(sealer.auth()))
    sealer.check(encode(worker.auth()))


def test_the_mac_is_hmac_sha256_over_role_client_server() -> None:
    sealer, worker = pair()
    for side, role in ((sealer, b"sealer"), (worker, b"worker")):
        expected = hmac.new(CREDENTIAL, role + CLIENT + SERVER, hashlib.sha256).digest()
        assert encode(side.auth()) == encode({"type": "auth", "mac": expected})
    assert auth_mac(CREDENTIAL, "sealer", CLIENT, SERVER) == sealer.auth().mac


def test_another_credential_another_role_another_bit_prove_nothing() -> None:
    sealer, worker = pair(b"x" * 32)
    assert reason(worker, encode(sealer.auth())) == "wrong_mac"
    assert reason(sealer, encode(worker.auth())) == "wrong_mac"
    sealer, worker = pair()
    assert reason(sealer, encode(sealer.auth())) == "wrong_mac", "its own comes back"
    assert reason(worker, encode(worker.auth())) == "wrong_mac"
    mac = sealer.auth().mac
    assert reason(worker, encode(Auth(bytes([mac[0] ^ 1]) + mac[1:]))) == "wrong_mac"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        encode({"type": "auth"}),
        encode({"type": "auth", "mac": b"x" * 31}),
        encode({"type": "auth", "mac": "x" * 32}),
        encode({"type": "request", "id": 1, "method": "sign", "params": {}}),
        encode(Hello((1,), "again", nonce=bytes(32))),
    ],
)
def test_anything_else_is_no_proof(frame: bytes) -> None:
    assert reason(pair()[1], frame) == "auth_expected"


def test_an_error_in_its_place_is_told() -> None:
    with pytest.raises(Refusal, match=r"'key\.forbidden' \('wrong_mac'\)") as caught:
        pair()[0].check(encode(Error("key.forbidden", "no", False, details={"reason": "wrong_mac"})))
    assert caught.value.reason == "peer_refused"


def test_what_a_peer_says_is_fit_for_a_log() -> None:
    line = told(Error("a\nb" * 100, "", False, details={"reason": "ü\x1b[31m" * 100}))
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1000


@pytest.mark.parametrize("nonce", [msgspec.UNSET, bytes(16), bytes(31), bytes(33), bytes(64)])
def test_a_nonce_has_32_bytes(nonce: bytes) -> None:
    proof = Proof(CREDENTIAL, "worker", SERVER)
    with pytest.raises(Refusal) as caught:
        proof.meet(Hello((1,), "s", nonce=nonce))
    assert caught.value.reason == "nonce"
    assert not proof.met


@pytest.mark.parametrize(("credential", "nonce"), [(bytes(31), SERVER), (bytes(4097), SERVER), (CREDENTIAL, bytes(16))])
def test_short_and_long_ones_are_the_callers_mistake(credential: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="length"):
        Proof(credential, "worker", nonce)
