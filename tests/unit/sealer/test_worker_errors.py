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
    reasons = [getattr(errors, field.name).reason for field in dataclasses.fields(errors) if field.name != "prefix"]
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
