import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.errors import SignerdError
from signerd.verification.fido2 import Credential, verify_assertion
from signerd.verification.keys import PublicKey
from signerd_key_fido2.backend import CONFIRMED, signerd_key_backends
from signerd_key_fido2.raw import ESP256_SPLIT, ESP256_SPLIT_ARKG

DIGEST = hashlib.sha256(b"PAE").digest()
RP, ORIGIN = "signer.example", "https://signer.example"


@pytest.fixture
def backend(authenticator, tmp_path):
    def make(**settings):
        table = {"state": str(tmp_path / "state"), "rp_id": RP, "device": authenticator.place, **settings}
        return signerd_key_backends(table)

    return make


def refused(code, reason, method, *args):
    with pytest.raises(SignerdError) as caught:
        method(*args)
    assert (caught.value.code, caught.value.reason) == (code, reason)


@pytest.mark.parametrize(("origin", "fmt"), [("", "ctap2"), (ORIGIN, "webauthn")])
@pytest.mark.parametrize("algorithm", ["FIDO2-ES256", "FIDO2-Ed25519"])
def test_an_assertion_approves_the_digest(backend, origin, fmt, algorithm):
    made = backend(**({"origin": origin} if origin else {}))
    enrolment = made.enrol("fido2:alice", algorithm)
    described = backend().describe("fido2:alice")
    assert described == enrolment.description
    assert (described.algorithm, described.prehash, described.hardware) == (algorithm, "sha256", False)
    credential = Credential(described.spki, enrolment.rp_id, enrolment.origin, enrolment.user_verification)
    last = enrolment.counter
    for _ in range(2):
        signed = backend().sign("fido2:alice", DIGEST)
        assert signed.keyid == described.keyid == PublicKey.from_spki(described.spki).keyid
        assertion = verify_assertion(signed.signature, DIGEST, credential, last)
        assert assertion.fmt == fmt
        last = assertion.counter
    assert last == enrolment.counter + 2


def test_a_credential_keeps_what_it_was_enrolled_with(backend):
    backend(origin=ORIGIN).enrol("fido2:alice", "")
    signed = backend(rp_id="other.example").sign("fido2:alice", DIGEST)
    spki = backend().describe("fido2:alice").spki
    assert verify_assertion(signed.signature, DIGEST, Credential(spki, RP, ORIGIN, user_verification=False), 1)


@pytest.mark.parametrize("flaw", ["another key", "another rp", "no presence", "counter back"])
def test_an_authenticator_that_lies_is_not_believed(backend, authenticator, flaw):
    backend().enrol("fido2:alice", "")
    authenticator.flaws.add(flaw)
    refused("key.backend_fault", "assertion_refused", backend().sign, "fido2:alice", DIGEST)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_what_is_no_digest_costs_no_touch(backend, authenticator, length):
    made = backend()
    for key in ("fido2:alice", "fido2:unwrap/alice"):
        made.enrol(key, "")
        refused("key.backend_fault", "digest_length", made.sign, key, bytes(length))
    assert authenticator.asked == 4


def test_an_unwrapped_key_signs_after_one_touch(backend, authenticator):
    described = backend().enrol("fido2:unwrap/alice", "").description
    made = backend()
    for _ in range(3):
        signed = made.sign("fido2:unwrap/alice", DIGEST)
        PublicKey.from_spki(described.spki).verify(signed.signature, b"PAE")
        assert signed.keyid == described.keyid
    assert authenticator.asked == 3
    backend().sign("fido2:unwrap/alice", DIGEST)
    assert authenticator.asked == 4
    assert load_der_public_key(described.spki).key_size == 256


def test_another_secret_unwraps_nothing(backend, authenticator):
    backend().enrol("fido2:unwrap/alice", "")
    authenticator.flaws.add("wrong secret")
    refused("key.backend_fault", "unwrap_failed", backend().sign, "fido2:unwrap/alice", DIGEST)


def test_a_key_unwrapped_for_a_verified_user_wants_the_pin_again(backend, authenticator, tmp_path):
    authenticator.pin = "2468"
    pin = tmp_path / "pin"
    pin.write_text("2468")
    pin.chmod(0o600)
    backend(user_verification=True, pin_file=str(pin)).enrol("fido2:unwrap/alice", "")
    refused("key.forbidden", "no_verification", backend().sign, "fido2:unwrap/alice", DIGEST)
    assert backend(pin_file=str(pin)).sign("fido2:unwrap/alice", DIGEST)


def test_the_sealers_word_opens_the_latch_once(backend, authenticator, tmp_path, monkeypatch):
    backend().enrol("fido2:alice", "")
    authenticator.pin = "2468"
    pin = tmp_path / "pin"
    pin.write_text("1357")
    pin.chmod(0o600)
    settings = {"user_verification": True, "pin_file": str(pin)}
    refused("key.backend_fault", "pin_incorrect", backend(**settings).enrol, "fido2:bob", "")
    refused("key.backend_fault", "pin_latched", backend(**settings).enrol, "fido2:bob", "")
    monkeypatch.setenv(CONFIRMED, "1")
    confirmed = backend(**settings)
    refused("key.backend_fault", "pin_incorrect", confirmed.enrol, "fido2:bob", "")
    refused("key.backend_fault", "pin_latched", backend(**settings).enrol, "fido2:bob", "")
    assert authenticator.presented == 2


def test_an_authenticator_that_is_not_there_is_absent(backend, authenticator):
    backend().enrol("fido2:alice", "")
    away = backend(device=f"{authenticator.place}-away")
    assert away.describe("fido2:alice").algorithm == "FIDO2-ES256"
    refused("key.backend_unavailable", "device_absent", away.sign, "fido2:alice", DIGEST)


@pytest.fixture(params=[(ESP256_SPLIT,), (ESP256_SPLIT_ARKG,)], ids=["split", "split-arkg"])
def raw(backend, authenticator, request):
    authenticator.extensions, authenticator.raw_algorithms = ("previewSign",), request.param
    backend(raw_sign=True).enrol("fido2:raw/alice", "")
    return backend(raw_sign=True)


def test_a_raw_key_signs_what_it_is_given_after_a_touch_each_time(raw, authenticator):
    described = raw.describe("fido2:raw/alice")
    assert (described.algorithm, described.prehash, described.hardware) == ("ES256", "sha256", False)
    assert described.capabilities == ("enrol", "presence")
    public = PublicKey.from_spki(described.spki)
    for message in (b"PAE", b"another"):
        signed = raw.sign("fido2:raw/alice", hashlib.sha256(message).digest())
        public.verify(signed.signature, message)
        assert signed.keyid == described.keyid == public.keyid
    assert authenticator.asked == 4
    refused("key.backend_fault", "digest_length", raw.sign, "fido2:raw/alice", bytes(31))
    assert authenticator.asked == 4


def test_nobody_touches_it_and_nothing_is_signed_raw(raw, backend, authenticator):
    authenticator.touched_at_once = False
    refused("key.backend_unavailable", "no_touch", backend(raw_sign=True, touch_s=1).sign, "fido2:raw/alice", DIGEST)
    assert authenticator.cancelled == 1


@pytest.mark.parametrize("flaw", ["another key", "another rp", "no presence", "counter back"])
def test_a_raw_signature_without_a_touch_is_not_given_out(raw, authenticator, flaw):
    authenticator.flaws.add(flaw)
    refused("key.backend_fault", "assertion_refused", raw.sign, "fido2:raw/alice", DIGEST)


@pytest.mark.parametrize("flaw", ["another raw key", "another digest"])
def test_a_raw_signature_is_judged_by_whoever_asked(raw, authenticator, flaw):
    authenticator.flaws.add(flaw)
    signed = raw.sign("fido2:raw/alice", DIGEST)
    public = PublicKey.from_spki(raw.describe("fido2:raw/alice").spki)
    refused("verification.failed", "signature_invalid", public.verify, signed.signature, b"PAE")


def test_without_the_setting_nothing_is_signed_raw(raw, backend, authenticator):
    off = backend()
    for method, *args in ((off.describe,), (off.sign, DIGEST), (off.enrol, "")):
        refused("key.forbidden", "raw_sign_off", method, "fido2:raw/alice", *args)
    refused("key.forbidden", "raw_sign_off", off.enrol, "fido2:raw/bob", "")
    assert authenticator.asked == 2


def test_an_authenticator_that_has_forgotten_the_extension_signs_nothing(raw, authenticator):
    for key in authenticator.keys.values():
        key.raw = None
    refused("key.backend_fault", "device_protocol", raw.sign, "fido2:raw/alice", DIGEST)


def test_a_raw_key_for_a_verified_user_wants_the_pin_each_time(backend, authenticator, tmp_path):
    authenticator.pin, authenticator.extensions = "2468", ("previewSign",)
    pin = tmp_path / "pin"
    pin.write_text("2468")
    pin.chmod(0o600)
    known = {"pin_file": str(pin), "raw_sign": True}
    backend(user_verification=True, **known).enrol("fido2:raw/alice", "")
    refused("key.forbidden", "no_verification", backend(raw_sign=True).sign, "fido2:raw/alice", DIGEST)
    authenticator.flaws.add("no verification")
    refused("key.backend_fault", "assertion_refused", backend(**known).sign, "fido2:raw/alice", DIGEST)
    authenticator.flaws.clear()
    assert backend(**known).sign("fido2:raw/alice", DIGEST)
