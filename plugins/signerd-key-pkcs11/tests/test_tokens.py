from pathlib import Path

import pytest

from fakes.tokens import PIN, Shim, SoftHsm
from signerd.errors import SignerdError
from signerd_key_pkcs11.settings import understand
from signerd_key_pkcs11.tokens import Tokens
from signerd_key_pkcs11.uri import parse

pytestmark = pytest.mark.needs("softhsm2", "gcc")

USER = 1
OK, WRONG = 0x0, 0xA0
COUNT_LOW, FINAL_TRY, LOCKED = "0x10000", "0x20000", "0x40000"


def refused(tokens: Tokens, text: str = "token=demo") -> str:
    with pytest.raises(SignerdError) as caught:
        tokens.get(parse(f"pkcs11:{text};object=k"))
    assert PIN not in str(caught.value)
    return f"{caught.value.code} {caught.value.reason}"


def tokens_of(settings: dict[str, object]) -> Tokens:
    return Tokens(understand(settings))


def test_one_login_and_as_many_sessions_as_configured(shim: Shim) -> None:
    tokens = tokens_of(shim.settings(sessions=3))
    token = tokens.get(parse("pkcs11:token=demo;object=k"))
    assert tokens.get(parse("pkcs11:token=demo;object=other")) is token
    assert len({session.handle for session in token.sessions}) == 3
    assert shim.calls("C_Login") == [(OK, USER)]
    assert list((shim.hsm.base / "state").iterdir()) == [], "no mark is left of a good login"


def test_a_lost_token_is_opened_and_logged_in_to_again(shim: Shim) -> None:
    tokens = tokens_of(shim.settings(sessions=2))
    first = tokens.get(parse("pkcs11:token=demo;object=k"))
    tokens.drop(first)
    assert first.closed
    second = tokens.get(parse("pkcs11:token=demo;object=k"))
    assert not second.closed
    tokens.drop(second, restart=True)
    assert second.closed
    assert tokens.get(parse("pkcs11:token=demo;object=k")) is not second
    assert shim.calls("C_Login") == [(OK, USER)] * 3


def test_tokens_of_several_slots_and_modules_at_once_each_with_its_own_pin(hsm: SoftHsm, shim_file: Path) -> None:
    hsm.initialise("other")
    wrong = hsm.base / "wrong"
    wrong.write_text("0000")
    wrong.chmod(0o600)
    tokens = tokens_of(
        hsm.settings(pin_file=None, tokens={"demo": {"pin_file": str(hsm.pin_file)}, "other": {"pin_file": str(wrong)}})
    )
    demo = tokens.get(parse("pkcs11:token=demo;object=k"))
    assert refused(tokens, "token=other") == "key.backend_fault pin_incorrect"
    assert refused(tokens, "token=other") == "key.backend_fault pin_latched"
    assert tokens.get(parse("pkcs11:token=demo;object=k")) is demo, "one token's latch is not another's"


def test_every_attribute_of_a_reference_must_fit(hsm: SoftHsm) -> None:
    tokens = tokens_of(hsm.settings())
    token = tokens.get(parse("pkcs11:token=demo;object=k"))
    serial, slot = token.token.serial.decode(), token.token.slot.slot_id
    fitting = [
        f"serial={serial}",
        f"token=demo;serial={serial}",
        f"token=demo;slot-id={slot}",
        "token=demo;manufacturer=SoftHSM%20project;model=SoftHSM%20v2",
        "token=demo;library-manufacturer=SoftHSM;library-description=Implementation%20of%20PKCS11;library-version=2.6",
        "token=demo;slot-manufacturer=SoftHSM%20project",
    ]
    for text in fitting:
        assert tokens.get(parse(f"pkcs11:{text};object=k")) is token
    assert tokens.get(parse("pkcs11:token=demo;object=k?module-name=softhsm")) is token
    for text in ("token=Demo", "token=dem", "serial=ff", f"token=demo;slot-id={slot + 1}", "token=demo;model=x"):
        assert refused(tokens, text) == "key.backend_unavailable token_absent"
    with pytest.raises(SignerdError) as caught:
        tokens.get(parse("pkcs11:token=demo;object=k?module-name=nobody"))
    assert caught.value.reason == "token_absent"


def test_two_tokens_of_one_label_are_ambiguous(hsm: SoftHsm) -> None:
    hsm.initialise("demo")
    tokens = tokens_of(hsm.settings())
    assert refused(tokens) == "key.forbidden ambiguous_token"


def test_a_wrong_pin_is_presented_once_and_a_new_one_opens(shim: Shim) -> None:
    shim.hsm.set_pin_file("0000")
    assert refused(tokens_of(shim.settings())) == "key.backend_fault pin_incorrect"
    for _ in range(10):
        assert refused(tokens_of(shim.settings())) == "key.backend_fault pin_latched"
    assert shim.calls("C_Login") == [(WRONG, USER)]
    shim.hsm.set_pin_file(PIN)
    assert tokens_of(shim.settings()).get(parse("pkcs11:token=demo;object=k")).sessions
    assert shim.calls("C_Login") == [(WRONG, USER), (OK, USER)]


@pytest.mark.parametrize(("flags", "reason"), [(LOCKED, "pin_locked"), (FINAL_TRY, "pin_final_try")])
def test_the_last_try_is_left_to_a_human(hsm: SoftHsm, shim_file: Path, flags: str, reason: str) -> None:
    shim = Shim(hsm, shim_file, SHIM_TOKEN_FLAGS=flags)
    assert refused(tokens_of(shim.settings())) == f"key.backend_fault {reason}"
    assert shim.calls("C_Login") == []


def test_a_token_that_counts_after_an_end_that_nobody_saw_is_left_alone(hsm: SoftHsm, shim_file: Path) -> None:
    shim = Shim(hsm, shim_file, SHIM_TOKEN_FLAGS=COUNT_LOW)
    shim.fail("C_Login", "0x30")
    assert refused(tokens_of(shim.settings())) == "key.backend_unavailable token_lost"
    assert refused(tokens_of(shim.settings())) == "key.backend_fault pin_latched"
    assert len(shim.calls("C_Login")) == 1


def test_a_token_without_a_pin_here_is_not_logged_in_to(shim: Shim) -> None:
    settings = shim.settings(pin_file=None, tokens={"other": {"pin_file": str(shim.hsm.pin_file)}})
    assert refused(tokens_of(settings)) == "key.backend_fault pin_not_configured"
    assert shim.calls("C_Login") == []


def test_a_pin_file_that_others_can_read_is_not_presented(shim: Shim) -> None:
    shim.hsm.pin_file.chmod(0o644)
    assert refused(tokens_of(shim.settings())) == "key.backend_fault pin_file_mode"
    assert shim.calls("C_Login") == []


def test_a_token_that_goes_before_the_login_costs_no_try(shim: Shim) -> None:
    shim.fail("C_OpenSession", "0xe0")
    tokens = tokens_of(shim.settings())
    assert refused(tokens) == "key.backend_unavailable token_lost"
    assert shim.calls("C_Login") == []
    assert tokens.get(parse("pkcs11:token=demo;object=k")).sessions


def test_a_login_that_has_lasted_is_used(shim: Shim) -> None:
    shim.fail("C_Login", "0x100")
    assert tokens_of(shim.settings()).get(parse("pkcs11:token=demo;object=k")).sessions
    assert list((shim.hsm.base / "state").iterdir()) == []


def test_more_sessions_than_the_token_has(shim: Shim) -> None:
    tokens = tokens_of(shim.settings(sessions=8))
    tokens.drop(tokens.get(parse("pkcs11:token=demo;object=k")))
    shim.fail("C_OpenSession", "0xb1")
    assert refused(tokens) == "key.backend_unavailable token_busy"


def test_a_connection_that_broke_is_made_again(shim: Shim) -> None:
    tokens = tokens_of(shim.settings())
    first = tokens.get(parse("pkcs11:token=demo;object=k"))
    shim.fail("C_GetSlotList", "0x30")
    second = tokens.get(parse("pkcs11:token=demo;object=k"))
    assert first.closed
    assert not second.closed
    assert len(shim.calls("C_Initialize")) == 2


def test_a_token_that_comes_later_is_found(hsm: SoftHsm, shim_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = Shim(hsm, shim_file)
    tokens = tokens_of(shim.settings())
    assert refused(tokens, "token=late") == "key.backend_unavailable token_absent"
    hsm.initialise("late")
    assert len(shim.calls("C_Initialize")) == 1, "not at every call"
    monkeypatch.setattr("signerd_key_pkcs11.library.REFRESH_S", 0.0)
    assert tokens.get(parse("pkcs11:token=late;object=k")).sessions
    before = len(shim.calls("C_Initialize"))
    assert refused(tokens, "token=never") == "key.backend_unavailable token_absent"
    assert len(shim.calls("C_Initialize")) == before, "a module with an open token is left alone"
