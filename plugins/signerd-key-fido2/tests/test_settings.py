import pytest

from signerd_key_fido2.settings import ANY, Settings, understand

GOOD = {"state": "/var/lib/signerd/fido2", "rp_id": "signer.example"}


def test_what_must_be_there_is_enough():
    assert understand(GOOD) == Settings("/var/lib/signerd/fido2", "signer.example", device=ANY, touch_s=30.0)


def test_all_that_can_be_there():
    given = {
        "device": "unix:/run/fido2",
        "origin": "https://app.signer.example:8443",
        "user_verification": True,
        "touch_s": 5,
        "pin_file": "/etc/signerd/pin",
        "raw_sign": True,
    }
    read = understand({**GOOD, **given})
    assert (read.device, read.origin, read.touch_s) == ("unix:/run/fido2", "https://app.signer.example:8443", 5.0)
    assert read.user_verification
    assert read.raw_sign
    assert not understand(GOOD).raw_sign
    assert read.pin == "/etc/signerd/pin"


def test_a_pin_may_be_a_credential_of_systemd():
    assert understand({**GOOD, "pin_credential": "fido2-pin"}).pin == "fido2-pin"


@pytest.mark.parametrize("rp_id", ["ssh:", "ssh:signerd", "example", "a.b-c.example"])
def test_relying_parties(rp_id):
    assert understand({**GOOD, "rp_id": rp_id}).rp_id == rp_id


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pin": "1234"}, "pin: unknown key"),
        ({"state": "fido2"}, "state: an absolute path"),
        ({"state": None}, "state: an absolute path"),
        ({"rp_id": None}, "rp_id: "),
        ({"rp_id": "Signer.example"}, "rp_id: "),
        ({"rp_id": "https://signer.example"}, "rp_id: "),
        ({"rp_id": "signer.example."}, "rp_id: "),
        ({"rp_id": "ssh:a b"}, "rp_id: "),
        ({"origin": "http://signer.example"}, "origin: https"),
        ({"origin": "https://signer.example/"}, "origin: https"),
        ({"origin": "https://evilsigner.example"}, "origin: its host"),
        ({"origin": "https://example"}, "origin: its host"),
        ({"device": "hidraw0"}, "device: an absolute path"),
        ({"device": "unix:socket"}, "device: an absolute path"),
        ({"device": "/dev/hid\0raw"}, "device: an absolute path"),
        ({"device": 1}, "device: an absolute path"),
        ({"user_verification": 1}, "user_verification: true or false"),
        ({"raw_sign": "yes"}, "raw_sign: true or false"),
        ({"touch_s": 0}, "touch_s: seconds"),
        ({"touch_s": 120}, "touch_s: seconds"),
        ({"touch_s": True}, "touch_s: seconds"),
        ({"touch_s": float("nan")}, "touch_s: seconds"),
        ({"pin_file": "pin"}, "pin_file: an absolute path"),
        ({"pin_credential": "../pin"}, "pin_credential: the name"),
        ({"pin_file": "/pin", "pin_credential": "pin"}, "only one"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_said(given, words):
    with pytest.raises(ValueError, match=f"^{words}|{words}"):
        understand({**GOOD, **given})
