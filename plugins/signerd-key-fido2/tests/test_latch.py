import pytest
from fido2.ctap import CtapError

from signerd.errors import Fault
from signerd_key_fido2.folder import Folder
from signerd_key_fido2.latch import KEPT_RETRIES, MARK, PinLatch


class Token:
    """What counts PINs: right ones give all retries back."""

    def __init__(self, pin):
        self.pin, self.retries, self.presented = pin, 8, 0

    def judge(self, given, dies=False):
        self.presented += 1
        self.retries -= 1
        if given != self.pin:
            if dies:
                raise KeyboardInterrupt
            raise CtapError(CtapError.ERR.PIN_INVALID)
        self.retries = 8
        if dies:
            raise KeyboardInterrupt
        return "token"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def present(state, token, pin, dies=False):
    return PinLatch(Folder(str(state))).present(pin, token.retries, lambda: token.judge(pin, dies))


def latched(state, token, pin, reason="pin_latched"):
    before = token.presented
    with pytest.raises(Fault) as caught:
        present(state, token, pin)
    assert (caught.value.code, caught.value.reason) == ("key.backend_fault", reason)
    assert token.presented == before


def test_a_right_pin_leaves_no_mark(state):
    token = Token("1234")
    for _ in range(3):
        assert present(state, token, "1234") == "token"
    assert not (state / MARK).exists()


def test_a_wrong_pin_is_presented_once_whatever_restarts(state):
    token = Token("1234")
    with pytest.raises(CtapError):
        present(state, token, "9999")
    for _ in range(20):
        latched(state, token, "9999")
    assert token.retries == 7
    assert b"9999" not in (state / MARK).read_bytes()


def test_another_pin_opens_the_latch(state):
    token = Token("1234")
    with pytest.raises(CtapError):
        present(state, token, "9999")
    assert present(state, token, "1234") == "token"
    assert not (state / MARK).exists()


def test_a_person_opens_the_latch(state):
    token = Token("1234")
    with pytest.raises(CtapError):
        present(state, token, "9999")
    PinLatch(Folder(str(state))).confirm()
    with pytest.raises(CtapError):
        present(state, token, "9999")
    latched(state, token, "9999")


def test_a_wrong_pin_whose_end_nobody_saw_latches_by_the_tokens_count(state):
    token = Token("1234")
    with pytest.raises(KeyboardInterrupt):
        present(state, token, "9999", dies=True)
    latched(state, token, "9999")
    latched(state, token, "9999")


def test_a_right_pin_whose_end_nobody_saw_does_not(state):
    token = Token("1234")
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            present(state, token, "1234", dies=True)
    assert present(state, token, "1234") == "token"


def test_what_is_no_judgement_does_not_latch(state):
    def lost():
        raise OSError(5, "gone")

    with pytest.raises(OSError, match="gone"):
        PinLatch(Folder(str(state))).present("1234", 8, lost)
    assert present(state, Token("1234"), "1234") == "token"


@pytest.mark.parametrize("retries", [0, 1, KEPT_RETRIES])
def test_the_last_retries_are_left_to_a_person(state, retries):
    token = Token("1234")
    token.retries = retries
    latched(state, token, "1234", "pin_retries_low")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"salt":"AA==","digest":"AA==","retries":1}'])
def test_a_mark_that_cannot_be_read_latches(state, text):
    with Folder(str(state)).locked() as folder:
        folder.replace(MARK, text)
    latched(state, Token("1234"), "1234", "pin_mark_unreadable")


def test_a_mark_that_cannot_be_written_lets_nothing_be_presented(state):
    state.mkdir()
    state.chmod(0o777)
    latched(state, Token("1234"), "1234", "state_folder")
