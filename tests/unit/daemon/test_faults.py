import logging

import pytest

from signerd.daemon import faults
from signerd.daemon.faults import LONGEST_LINE, MOST_LINES, PERIOD_S, Sparing, tell
from signerd.errors import Fault, PluginError, Refusal, SignerdError


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(faults._log, "filters", [Sparing()])
    return caplog


def test_the_operators_text_is_told(lines: pytest.LogCaptureFixture) -> None:
    tell(PluginError("internal", "plugin_failed", plugin="authenticator(x)", operator="OSError: /run/x"))
    assert lines.messages == ["internal (plugin_failed): authenticator(x): OSError: /run/x"]
    assert lines.records[0].levelno == logging.ERROR


@pytest.mark.parametrize(
    "error",
    [
        Fault("request.deadline", "deadline", "the request's time is over"),
        Refusal("auth.peer_denied", "uid_not_allowed", "no", operator="uid 7 is in neither list"),
    ],
)
def test_what_the_record_has_is_not_told_again(lines: pytest.LogCaptureFixture, error: SignerdError) -> None:
    tell(error)
    assert lines.messages == []


def test_no_text_makes_a_line_of_its_own_or_an_endless_one(lines: pytest.LogCaptureFixture) -> None:
    tell(Fault("internal", "garbled", "no", operator="a\nsignerd: ready\x1b[2J" + "x" * 10 * LONGEST_LINE))
    (line,) = lines.messages
    assert line.isprintable()
    assert "a\\nsignerd: ready\\x1b[2J" in line
    assert len(line) < LONGEST_LINE + 100


def test_the_same_once_a_period_and_not_too_many_others() -> None:
    now = 0.0
    sparing = Sparing(lambda: now)

    def passes(text: object) -> bool:
        return sparing.filter(logging.makeLogRecord({"msg": "%s", "args": (text,)}))

    assert [passes("a"), passes("a"), passes("b")] == [True, False, True]
    assert [passes(n) for n in range(MOST_LINES)].count(True) == MOST_LINES - 2
    now = PERIOD_S - 0.1
    assert not passes("c")
    now = PERIOD_S
    assert passes("a")
    assert not passes("a")
