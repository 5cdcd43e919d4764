import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import CODES, Fault, PluginError, Refusal, SignerdError, error_from, exit_code

# The class of each code as the protocol fixes it: what is named here is a fault, everything else a refusal.
FAULTS = {
    "entitlement.unavailable",
    "release.unavailable",
    "transparency.unavailable",
    "audit.unavailable",
    "key.backend_unavailable",
    "key.backend_fault",
    "request.deadline",
    "request.cancelled",
    "daemon.overloaded",
    "daemon.draining",
    "internal",
}
RETRYABLE = {
    "entitlement.unavailable",
    "quota.rate",
    "quota.concurrency",
    "release.unavailable",
    "key.backend_unavailable",
    "key.presence_required",
    "transparency.unavailable",
    "audit.unavailable",
    "request.deadline",
    "daemon.overloaded",
    "daemon.draining",
}


def expected_exit(code: str) -> int:
    if code in RETRYABLE:
        return 10
    if code == "key.not_found":
        return 4
    if code == "verification.failed":
        return 6
    area = code.split(".", maxsplit=1)[0]
    if area in ("request", "statement", "predicate"):
        return 2
    if code in ("quota.size", "quota.daily") or (area == "key" and code not in FAULTS):
        return 3
    return 3 if area in ("auth", "entitlement", "release", "approval") else 1


def test_every_code_has_its_class_retryability_and_exit_code() -> None:
    assert {code for code, info in CODES.items() if info.kind == "fault"} == FAULTS
    assert {code for code, info in CODES.items() if info.retryable} == RETRYABLE
    assert {code: info.exit_code for code, info in CODES.items()} == {
        code: expected_exit(code) for code in CODES
    }
    assert len(CODES) == 47


def test_codes_are_lowercase_words_and_the_table_is_closed() -> None:
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", code) for code in CODES)
    with pytest.raises(TypeError):
        CODES["new.code"] = CODES["internal"]  # type: ignore[index]  # that it cannot be is the point


@pytest.mark.parametrize(
    ("made", "code"), [(Refusal, "internal"), (Fault, "quota.rate"), (Refusal, "no.such")]
)
def test_a_code_of_the_other_class_is_a_programming_error(made: type[SignerdError], code: str) -> None:
    with pytest.raises(ValueError, match="is not the code of a"):
        made(code, "reason", "text")


def test_the_operator_reads_more_than_the_peer() -> None:
    error = Refusal(
        "key.forbidden",
        "wrong_use",
        "the key is not for this",
        operator="key in /etc/x",
        details={"key": "k"},
        retry_after_ms=5,
    )
    assert str(error) == "key.forbidden (wrong_use): key in /etc/x"
    assert error.public == "the key is not for this"
    assert error.details == {"reason": "wrong_use", "key": "k"}
    assert not error.retryable
    assert error.retry_after_ms == 5
    assert str(Fault("internal", "bug", "the signer failed")) == "internal (bug): the signer failed"


def test_a_plugins_text_stays_with_the_operator() -> None:
    error = PluginError("key.backend_fault", "raised", plugin="file", operator="KeyError: secret")
    assert isinstance(error, Fault)
    assert "secret" not in error.public
    assert str(error) == "key.backend_fault (raised): file: KeyError: secret"
    assert error.plugin == "file"


@pytest.mark.parametrize("code", list(CODES))
def test_an_error_that_came_over_a_link_is_the_exception_again(code: str) -> None:
    error = error_from(code, "why", "text", operator="more", details={"reason": "other", "limit": 3})
    assert type(error) is (Fault if code in FAULTS else Refusal)
    assert (error.code, error.reason, error.public) == (code, "why", "text")
    assert error.details == {"reason": "why", "limit": 3}
    assert error.retryable == (code in RETRYABLE)
    assert exit_code(code) == CODES[code].exit_code


@given(st.text().filter(lambda code: code not in CODES))
def test_a_code_that_nobody_knows_is_a_fault(code: str) -> None:
    error = error_from(code, "why", "text")
    assert (error.code, error.reason, error.public) == ("internal", "unknown_code", "the signer failed")
    assert exit_code(code) == 1
