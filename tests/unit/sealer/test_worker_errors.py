import dataclasses

import pytest

from signerd.errors import CODES
from signerd.sealer.worker_errors import KEY, TRANSPARENCY, WorkerErrors
from signerd.wire.worker_calls import CallError


@pytest.mark.parametrize("errors", [KEY, TRANSPARENCY])
def test_what_is_said_of_a_worker_is_of_its_kind(errors: WorkerErrors) -> None:
    for name in ("down", "late", "died", "shape", "foreign"):
        said = getattr(errors, name)
        assert said.code in CODES
        assert said.code.startswith(errors.prefix)
    said = [getattr(errors, field.name) for field in dataclasses.fields(errors)]
    reasons = [error.reason for error in said if isinstance(error, CallError)]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("code", ["key.revoked", "internal", "auth.required", "transparency.made_up"])
def test_a_publisher_has_no_other_codes(code: str) -> None:
    assert TRANSPARENCY.told(CallError(code, "lie", "no")) == TRANSPARENCY.foreign
    assert TRANSPARENCY.told(None) == TRANSPARENCY.foreign


def test_a_publishers_own_error_passes_cut() -> None:
    made = TRANSPARENCY.told(CallError("transparency.unavailable", "x" * 64, "y" * 1000, "operator\n"))
    assert (made.code, len(made.reason), len(made.message), made.operator) == (
        "transparency.unavailable", 64, 200, "operator\\n",
    )  # fmt: skip


def test_a_key_worker_says_what_is_wrong_with_a_callers_descriptor_and_nothing_else_of_requests() -> None:
    for reason in ("descriptor_kind", "descriptor_read", "size_mismatch"):
        error = CallError("request.malformed", reason, "a descriptor")
        assert KEY.told(error) == error
        assert TRANSPARENCY.told(error) == TRANSPARENCY.foreign
    assert KEY.told(CallError("request.malformed", "missing_field", "no")) == KEY.foreign
    assert KEY.told(CallError("request.too_large", "size_mismatch", "no")) == KEY.foreign
