import json
import time

import pytest

from signerd.cli.main import main


def run(capsys, *arguments):
    status = main(["admin", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_exceptions_on_a_stopped_daemons_state(tmp_path, capsys):
    state = ["--state", str(tmp_path / "state")]
    bypass = ["bypass", "--tenant", "local", "--plan", "gold", "--reason", "outage"]
    status, out, _ = run(capsys, *bypass, "--hours", "2", *state)
    assert status == 0
    (made,) = json.loads(out)
    assert abs(made["expires_at"] - time.time() * 1000 - 7_200_000) < 60_000
    status, _, err = run(capsys, *bypass, "--hours", "25", *state)
    assert (status, "over_cap" in err) == (2, True)
    status, out, _ = run(capsys, "approve-release", "sha256:" + "a" * 64, "--hours", "1", "--reason", "vendor", *state)
    assert (status, json.loads(out)[0]["bypass_id"] != made["bypass_id"]) == (0, True)
    status, _, err = run(capsys, "confirm", "clock", "--reason", "seen", *state)
    assert (status, "nothing_waits" in err) == (2, True)
    status, out, _ = run(capsys, "confirm", "pin", "--reason", "seen", *state)
    assert (status, json.loads(out)) == (0, [{"backends": []}])


@pytest.mark.parametrize("arguments", [["bypass", "--tenant", "t", "--plan", "p", "--reason", "r"], ["confirm", "pin"]])
def test_an_end_and_a_reason_are_needed(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["admin", *arguments])
    assert "required" in capsys.readouterr().err


@pytest.mark.parametrize("hours", ["nan", "inf", "-1", "0", "two", "169"])
def test_hours_are_a_number_that_an_exception_may_last(hours, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["admin", "approve-release", "sha256:" + "a" * 64, "--reason", "r", "--hours", hours])
    assert caught.value.code == 2
    assert "expected a number above 0, at most 168" in capsys.readouterr().err


def test_what_has_another_shape_is_named(tmp_path, capsys):
    status, _, err = run(
        capsys, "approve-release", "sha256:a", "--hours", "1", "--reason", "r", "--state", str(tmp_path / "state")
    )
    assert (status, err.endswith(": digest\n")) == (2, True)
