import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import Refusal
from signerd.verification.checks import Check, Checks, Verification, printable


def test_checks_stand_in_the_order_in_which_they_were_made() -> None:
    checks = Checks()
    checks.passed("one", "fine")
    checks.skipped("transparency", "not asked\n")
    assert not checks.any_failed
    checks.failed("two", "why", "\x1b[2J")
    checks.refused("three", Refusal("verification.failed", "because", "for the peer", operator="for the operator"))
    assert checks.any_failed
    assert checks.made == [
        Check("one", "passed", "fine"),
        Check("transparency", "skipped", r"not asked\n"),
        Check("two", "failed", r"\x1b[2J", "why"),
        Check("three", "failed", "for the peer", "because"),
    ]
    verification = checks.unverified()
    assert not verification.verified
    assert verification.transparency == "skipped"
    assert verification.failure == checks.made[2]
    with pytest.raises(Refusal) as caught:
        verification.require()
    assert (caught.value.code, caught.value.reason) == ("verification.failed", "why")


def test_what_is_verified_requires_nothing() -> None:
    verification = Verification(True, (Check("transparency", "passed", ""),))
    assert verification.require() is verification
    assert verification.failure is None
    assert verification.transparency == "passed"
    assert Verification(True, ()).transparency == "skipped"


@given(st.text())
def test_shown_text_is_printable_and_short(text: str) -> None:
    assert all(" " <= character <= "~" for character in printable(text))
    assert len(printable(text)) <= 203 * 10


def test_shown_text_keeps_what_is_plain() -> None:
    assert printable("a b~") == "a b~"
    assert printable("\x1b[31mé\n") == r"\x1b[31m\xe9\n"
