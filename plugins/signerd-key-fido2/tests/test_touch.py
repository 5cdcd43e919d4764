import threading

import pytest

from signerd.errors import SignerdError
from signerd_key_fido2 import touch
from signerd_key_fido2.folder import Folder
from signerd_key_fido2.latch import PinLatch
from signerd_key_fido2.settings import understand
from signerd_key_fido2.touch import Asker

RP = "signer.example"
USER = {"id": b"u" * 32, "name": "alice", "displayName": "alice"}


@pytest.fixture
def asker(authenticator, tmp_path):
    def make(**settings):
        table = {"state": str(tmp_path / "state"), "rp_id": RP, "device": authenticator.place, **settings}
        return Asker(understand(table), PinLatch(Folder(str(tmp_path / "state"))))

    return make


@pytest.fixture
def pin_file(tmp_path):
    def write(pin):
        path = tmp_path / "pin"
        path.write_text(pin)
        path.chmod(0o600)
        return str(path)

    return write


@pytest.fixture
def credential(asker, authenticator):
    with asker().only() as asked:
        return bytes(asked.make(RP, USER, [-7], secret=True).auth_data.credential_data.credential_id)


def refused(code, reason, method, *args, **named):
    with pytest.raises(SignerdError) as caught:
        method(*args, **named)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def get(asker, credential, **named):
    with asker.of(RP, credential) as asked:
        return asked.get(RP, credential, bytes(32), **{"verified": False, **named})


def test_a_touch_is_waited_for(asker, authenticator, credential):
    authenticator.touched_at_once = False
    done = []
    thread = threading.Thread(target=lambda: done.append(get(asker(), credential)))
    thread.start()
    authenticator.wait_asked(2)
    assert not done
    authenticator.touch()
    thread.join(30)
    assert done[0][0].auth_data.is_user_present()


def test_a_touch_that_does_not_come_is_called_off(asker, authenticator, credential):
    authenticator.touched_at_once = False
    refused("key.backend_unavailable", "no_touch", get, asker(touch_s=1), credential)
    assert authenticator.cancelled == 1
    authenticator.touched_at_once = True
    assert get(asker(), credential)


def test_a_secret_is_the_same_each_time_and_another_for_another_salt(asker, credential):
    secrets = [get(asker(), credential, salt=salt)[1] for salt in (b"a" * 32, b"a" * 32, b"b" * 32)]
    assert secrets[0] == secrets[1] != secrets[2]
    assert len(secrets[0]) == 32


def test_a_verified_user_has_another_secret(asker, authenticator, credential, pin_file):
    plain = get(asker(), credential, salt=b"a" * 32)[1]
    authenticator.pin = "2468"
    verified = get(asker(pin_file=pin_file("2468")), credential, salt=b"a" * 32, verified=True)
    assert verified[0].auth_data.is_user_verified()
    assert verified[1] != plain


def test_without_a_pin_no_user_is_verified(asker, authenticator, credential, pin_file):
    refused("key.forbidden", "no_verification", get, asker(), credential, verified=True)
    authenticator.pin = "2468"
    refused("key.forbidden", "no_verification", get, asker(), credential, verified=True)


def test_a_wrong_pin_is_presented_once(asker, authenticator, credential, pin_file):
    authenticator.pin = "2468"
    wrong = asker(pin_file=pin_file("1357"))
    refused("key.backend_fault", "pin_incorrect", get, wrong, credential, verified=True)
    for _ in range(3):
        refused("key.backend_fault", "pin_latched", get, wrong, credential, verified=True)
    assert (authenticator.presented, authenticator.retries) == (1, 7)


def test_an_authenticator_that_goes_away_is_lost(asker, authenticator, credential):
    authenticator.touched_at_once = False
    caught = []

    def ask():
        try:
            get(asker(), credential)
        except SignerdError as exc:
            caught.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    authenticator.wait_asked(2)
    authenticator.hang_up()
    thread.join(30)
    assert (caught[0].code, caught[0].reason) == ("key.backend_unavailable", "device_lost")


@pytest.mark.parametrize("flaw", ["garbage", "other shape", "no map"])
def test_what_is_no_answer_is_said(asker, authenticator, credential, flaw):
    authenticator.flaws.add(flaw)
    refused("key.backend_fault", "device_protocol", get, asker(), credential, salt=b"a" * 32)


def test_a_credential_of_another_authenticator_is_not_here(asker, authenticator):
    refused("key.not_found", "not_on_device", get, asker(), b"another")


@pytest.fixture
def two_places(authenticator, monkeypatch, tmp_path_factory):
    from fakes.fido2_device import plugged_in

    path = authenticator.place.removeprefix("unix:")
    with plugged_in(type(tmp_path_factory.getbasetemp())(f"{path}2")) as second:
        monkeypatch.setattr(touch, "places", lambda device: [second.place, authenticator.place])
        yield second


def test_of_several_the_one_that_has_the_credential_is_asked(asker, authenticator, credential, two_places):
    assert get(asker(), credential)
    assert (authenticator.asked, two_places.asked) == (2, 0)
    refused("key.not_found", "not_on_device", get, asker(), b"another")


def test_of_several_none_is_enrolled(asker, authenticator, two_places):
    def only():
        with asker().only():
            pytest.fail("one was chosen")

    refused("key.forbidden", "ambiguous_device", only)


def test_where_none_is_it_is_absent(asker, monkeypatch):
    monkeypatch.setattr(touch, "places", lambda device: [])
    refused("key.backend_unavailable", "device_absent", get, asker(), b"any")
