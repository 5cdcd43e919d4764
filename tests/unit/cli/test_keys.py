import argparse
import json

import pytest

from signerd.cli.keys import milliseconds
from signerd.cli.main import main


def run(capsys, *arguments):
    status = main([*arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_life_of_a_key_on_a_state_directory(tmp_path, capsys):
    state = ["--state", str(tmp_path / "state")]
    status, out, err = run(capsys, "keys", "generate", "file:default", "--reason", "first", *state)
    assert (status, "exists" in err) == (2, True)  # embedded defaults make it at the first start
    status, out, _ = run(capsys, "keys", "list", *state)
    assert [(row["key"], row["version"], row["status"]) for row in json.loads(out)] == [("file:default", 1, "active")]
    revoke = ["keys", "revoke", "file:default", "--reason", "lost", "--cause", "compromised"]
    status, out, err = run(capsys, *revoke, "--invalid-since", "2099-01-01T00:00:00Z", *state)
    assert (status, out, "invalid_since" in err) == (2, "", True)
    status, out, _ = run(capsys, *revoke, "--invalid-since", "2025-01-01T00:00:00+02:00", *state)
    (row,) = json.loads(out)
    assert (row["status"], row["cause"], row["invalid_since"]) == ("revoked", "compromised", 1_735_682_400_000)
    status, out, _ = run(capsys, "keys", "history", "file:default", "--output", "table", *state)
    assert [line.split()[1] for line in out.splitlines()] == ["change", "generate", "revoke"]
    for action in ("list", "history"):
        assert run(capsys, "keys", action, "file:no", *state)[::2] == (4, "signerd: the ring has no such key\n")
    status, _, err = run(capsys, "keys", "suspend", "file:default", "--version", "-1", "--reason", "x", *state)
    assert (status, err.endswith(": version\n")) == (2, True)


def test_without_a_state_directory_nothing_is_made(tmp_path, capsys):
    status, _, err = run(capsys, "keys", "list", "--state", str(tmp_path / "no"))
    assert (status, "there is no state directory" in err) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_publishing_into_a_file_fails_cleanly(tmp_path, capsys):
    state = ["--state", str(tmp_path / "state")]
    run(capsys, "keys", "generate", "file:default", "--reason", "first", *state)
    (tmp_path / "out").write_text("a file")
    status, _, err = run(capsys, "keys", "publish", "--out", str(tmp_path / "out"), *state)
    assert (status, "out" in err) == (1, True)


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00", "1750000000000"])
def test_a_time_needs_its_zone(text):
    with pytest.raises(argparse.ArgumentTypeError):
        milliseconds(text)


@pytest.mark.parametrize(
    "arguments", [["rotate", "file:a"], ["publish"], ["revoke", "file:a", "--reason", "x", "--cause", "y"]]
)
def test_what_an_order_needs(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["keys", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err
