from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_fido2.credentials import Store
from signerd_key_fido2.enrolment import enrol
from signerd_key_fido2.folder import Folder
from signerd_key_fido2.latch import PinLatch
from signerd_key_fido2.raw import ESP256_SPLIT, ESP256_SPLIT_ARKG
from signerd_key_fido2.settings import understand
from signerd_key_fido2.touch import Asker


@pytest.fixture
def enrolling(authenticator, tmp_path):
    """Enrols by settings; whether anything is kept is told by the folder."""
    folder = Folder(str(tmp_path / "state"))

    def run(key, algorithm="", **settings):
        table = {"state": folder.path, "rp_id": "signer.example", "device": authenticator.place, **settings}
        understood = understand(table)
        return enrol(Asker(understood, PinLatch(folder)), Store(folder), understood, key, algorithm)

    run.store, run.folder = Store(folder), folder.path
    return run


def refused(enrolling, code, reason, key="fido2:alice", algorithm="", **settings):
    with pytest.raises(SignerdError) as caught:
        enrolling(key, algorithm, **settings)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_two_touches_make_a_credential(enrolling, authenticator):
    enrolled = enrolling("fido2:alice", origin="https://signer.example")
    assert authenticator.asked == 2
    assert authenticator.keys.keys() == {enrolled.credential_id}
    assert (enrolled.algorithm, enrolled.rp_id, enrolled.origin) == (
        "FIDO2-ES256", "signer.example", "https://signer.example",
    )  # fmt: skip
    assert (enrolled.counter, enrolled.attestation, enrolled.transports) == (1, "packed", ("usb",))
    assert enrolling.store.load("fido2:alice") == enrolled


def test_an_algorithm_may_be_chosen(enrolling, authenticator):
    assert enrolling("fido2:alice", "FIDO2-Ed25519").algorithm == "FIDO2-Ed25519"
    assert enrolling("fido2:unwrap/alice", "ES256").algorithm == "ES256"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [("fido2:alice", "ES256"), ("fido2:alice", "RSA-PKCS1-SHA256"), ("fido2:unwrap/alice", "FIDO2-ES256")],
)
def test_another_algorithm_is_refused(enrolling, authenticator, key, algorithm):
    refused(enrolling, "key.algorithm_refused", "unknown_algorithm", key, algorithm)
    assert authenticator.asked == 0


def test_what_the_authenticator_has_not_is_refused(enrolling, authenticator):
    authenticator.algorithms = (-7,)
    refused(enrolling, "key.algorithm_refused", "device_algorithm", algorithm="FIDO2-Ed25519")
    authenticator.extensions = ("credProtect",)
    refused(enrolling, "key.forbidden", "no_secrets", "fido2:unwrap/alice")


@pytest.fixture
def with_raw(authenticator):
    authenticator.extensions = ("hmac-secret", "previewSign")
    return authenticator


@pytest.mark.parametrize("number", [ESP256_SPLIT, ESP256_SPLIT_ARKG])
def test_a_signing_key_is_made_beside_a_credential(enrolling, with_raw, number):
    with_raw.raw_algorithms = (number,)
    enrolled = enrolling("fido2:raw/alice", "ES256")
    assert (with_raw.asked, enrolled.kind, enrolled.algorithm, enrolled.counter) == (2, "raw", "ES256", 1)
    assert (enrolled.raw.algorithm, bool(enrolled.raw.arguments)) == (number, number == ESP256_SPLIT_ARKG)
    assert enrolled.raw.spki != enrolled.spki
    assert with_raw.keys[enrolled.credential_id].raw.flags == 0b001
    assert enrolling.store.load("fido2:raw/alice") == enrolled


def test_a_signing_key_is_made_for_a_verified_user(enrolling, with_raw, tmp_path):
    with_raw.pin = "2468"
    (tmp_path / "pin").write_text("2468")
    (tmp_path / "pin").chmod(0o600)
    enrolled = enrolling("fido2:raw/alice", user_verification=True, pin_file=str(tmp_path / "pin"))
    assert with_raw.keys[enrolled.credential_id].raw.flags == 0b101


def test_an_authenticator_without_raw_signatures_is_refused(enrolling, authenticator):
    refused(enrolling, "key.algorithm_refused", "raw_not_offered", "fido2:raw/alice")
    assert authenticator.asked == 0
    assert enrolling.store.is_free("fido2:raw/alice")


def test_a_signing_key_of_no_known_algorithm_is_refused(enrolling, with_raw):
    with_raw.raw_algorithms = (-9, -7)
    refused(enrolling, "key.algorithm_refused", "device_algorithm", "fido2:raw/alice")
    refused(enrolling, "key.algorithm_refused", "unknown_algorithm", "fido2:raw/alice", "FIDO2-ES256")
    assert enrolling.store.is_free("fido2:raw/alice")


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("another raw key", "signature_refused"),
        ("another digest", "signature_refused"),
        ("another key", "assertion_refused"),
        ("no presence", "assertion_refused"),
        ("raw denied", "device_protocol"),
    ],
)
def test_a_signing_key_that_proves_nothing_is_not_kept(enrolling, with_raw, flaw, reason):
    with_raw.flaws.add(flaw)
    refused(enrolling, "key.backend_fault", reason, "fido2:raw/alice")
    assert enrolling.store.is_free("fido2:raw/alice")
    assert not list(Path(enrolling.folder).glob("*"))


def test_a_name_that_is_taken_costs_no_touch(enrolling, authenticator):
    first = enrolling("fido2:alice")
    refused(enrolling, "key.forbidden", "exists")
    assert authenticator.asked == 2
    assert enrolling.store.load("fido2:alice") == first


@pytest.mark.parametrize("flaw", ["another key", "another rp", "no presence"])
def test_a_credential_that_proves_nothing_is_not_kept(enrolling, authenticator, flaw):
    authenticator.flaws.add(flaw)
    refused(enrolling, "key.backend_fault", "assertion_refused")
    assert enrolling.store.is_free("fido2:alice")


def test_nobody_touches_it(enrolling, authenticator):
    authenticator.touched_at_once = False
    refused(enrolling, "key.backend_unavailable", "no_touch", touch_s=1)
    assert authenticator.cancelled == 1
    assert enrolling.store.is_free("fido2:alice")


def test_a_pin_is_asked_for_where_one_is_set(enrolling, authenticator, tmp_path):
    authenticator.pin = "2468"
    refused(enrolling, "key.forbidden", "no_verification")
    (tmp_path / "pin").write_text("2468\n")
    (tmp_path / "pin").chmod(0o600)
    enrolled = enrolling("fido2:alice", user_verification=True, pin_file=str(tmp_path / "pin"))
    assert enrolled.user_verification
    assert authenticator.presented == 2


def test_a_verified_user_is_demanded(enrolling, authenticator, tmp_path):
    authenticator.pin = "2468"
    (tmp_path / "pin").write_text("2468")
    (tmp_path / "pin").chmod(0o600)
    authenticator.flaws.add("no verification")
    settings = {"user_verification": True, "pin_file": str(tmp_path / "pin")}
    refused(enrolling, "key.backend_fault", "assertion_refused", **settings)
