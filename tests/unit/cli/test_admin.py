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
