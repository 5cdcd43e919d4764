import json
import os
import threading
from pathlib import Path

import pytest

from signerd.errors import SignerdError
from signerd_key_pkcs11.latch import MOST_UNCERTAIN, PinLatch


class Wrong(Exception):
    """The token has judged."""


class Away(Exception):
    """The token was not there."""


class Crash(BaseException):
    """The process ends here."""


class Card:
    """A token that counts what is presented to it."""

    def __init__(self, pin: str) -> None:
        self.pin = pin
        self.presented: list[str] = []

    def login(self, pin: str) -> str:
        self.presented.append(pin)
        if pin != self.pin:
            raise Wrong
        return "in"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def login(folder: Path, card: Card, pin: str, *, name: str = "t", counted: bool = False) -> str:
    """One process: what it remembers lies in the folder alone."""
    return PinLatch(str(folder)).login(
        name, pin, lambda: card.login(pin), rejected=(Wrong,), unjudged=(Away,), counted=counted
    )


def ends(folder: Path, error: type[BaseException], pin: str = "1234", name: str = "t") -> None:
    def attempt() -> None:
        raise error

    with pytest.raises(error):
        PinLatch(str(folder)).login(name, pin, attempt, rejected=(Wrong,), unjudged=(Away,))


def refused(folder: Path, card: Card, pin: str, **more: bool) -> str:
    before = len(card.presented)
    with pytest.raises(SignerdError) as caught:
        login(folder, card, pin, **more)
    assert caught.value.code == "key.backend_fault"
    assert len(card.presented) == before, "nothing is presented"
    assert pin not in str(caught.value)
    return caught.value.reason


def test_a_right_pin_leaves_nothing_behind(folder: Path) -> None:
    card = Card("1234")
    assert [login(folder, card, "1234") for _ in range(3)] == ["in"] * 3
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_wrong_pin_is_presented_once_whatever_the_restarts(folder: Path) -> None:
    card = Card("1234")
    with pytest.raises(Wrong):
        login(folder, card, "4321")
    assert [refused(folder, card, "4321") for _ in range(10)] == ["pin_latched"] * 10
    assert card.presented == ["4321"]
    (mark,) = folder.iterdir()
    assert mark.stat().st_mode & 0o777 == 0o600
    assert b"4321" not in mark.read_bytes()


def test_another_pin_or_an_admin_opens_the_latch(folder: Path) -> None:
    card = Card("1234")
    for pin in ("1111", "2222"):
        with pytest.raises(Wrong):
            login(folder, card, pin)
    assert login(folder, card, "1234") == "in"
    with pytest.raises(Wrong):
        login(folder, card, "1111")
    (mark,) = folder.iterdir()
    mark.unlink()
    with pytest.raises(Wrong):
        login(folder, card, "1111")


def test_the_mark_stands_before_the_pin_is_presented(folder: Path) -> None:
    seen: list[object] = []

    def attempt() -> None:
        (mark,) = folder.iterdir()
        seen.append(json.loads(mark.read_text())["attempts"])

    PinLatch(str(folder)).login("t", "1234", attempt, rejected=(), unjudged=())
    assert seen == [1]


def test_an_end_that_nobody_saw_may_happen_once_and_not_forever(folder: Path) -> None:
    card = Card("1234")
    ends(folder, Crash)
    assert login(folder, card, "1234") == "in", "killed after a good login: it goes on"
    for _ in range(MOST_UNCERTAIN):
        ends(folder, Crash)
    assert refused(folder, card, "1234") == "pin_latched"
    assert login(folder, Card("5678"), "5678") == "in"


def test_a_token_that_has_counted_the_last_one_is_not_asked_again(folder: Path) -> None:
    card = Card("1234")
    ends(folder, Crash)
    assert refused(folder, card, "1234", counted=True) == "pin_latched"
    assert login(folder, card, "1234") == "in", "the counter was reset by hand"


def test_a_count_without_an_attempt_of_ours_is_somebody_elses(folder: Path) -> None:
    assert login(folder, Card("1234"), "1234", counted=True) == "in"


def test_a_login_that_the_token_cannot_have_counted_changes_nothing(folder: Path) -> None:
    card = Card("1234")
    for _ in range(5):
        ends(folder, Away)
    assert list(folder.iterdir()) == []
    ends(folder, Crash)
    for _ in range(5):
        ends(folder, Away)
    assert login(folder, card, "1234") == "in"


def test_tokens_are_told_apart(folder: Path) -> None:
    with pytest.raises(Wrong):
        login(folder, Card("1234"), "4321", name="a")
    assert login(folder, Card("4321"), "4321", name="b") == "in"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"salt": "", "digest": 1}', b"x" * 10_000])
def test_a_mark_that_cannot_be_read_counts_as_the_worst(folder: Path, content: bytes) -> None:
    card = Card("1234")
    with pytest.raises(Wrong):
        login(folder, card, "4321")
    (mark,) = folder.iterdir()
    mark.write_bytes(content)
    assert refused(folder, card, "1234") == "latch_unreadable"


def test_a_folder_that_others_could_change_or_that_cannot_be_written_lets_nothing_through(
    folder: Path, tmp_path: Path
) -> None:
    card = Card("1234")
    folder.mkdir(mode=0o700)
    folder.chmod(0o750)
    assert refused(folder, card, "1234") == "latch_folder"
    folder.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    assert refused(tmp_path / "link", card, "1234") == "latch_folder"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file", card, "1234") == "latch_folder"
    assert refused(tmp_path / "none" / "deeper", card, "1234") == "latch_folder"
    if os.geteuid() == 0:
        os.chown(folder, 1, 1)
        assert refused(folder, card, "1234") == "latch_folder"


def test_two_processes_do_not_present_a_wrong_pin_twice(folder: Path) -> None:
    card = Card("1234")
    inside, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def first() -> None:
        def attempt() -> str:
            inside.set()
            assert go_on.wait(20)
            return card.login("4321")

        with pytest.raises(Wrong):
            PinLatch(str(folder)).login("t", "4321", attempt, rejected=(Wrong,), unjudged=())

    def second() -> None:
        with pytest.raises(SignerdError) as caught:
            login(folder, card, "4321")
        ended.append(caught.value.reason)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert inside.wait(20)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert (card.presented, ended) == (["4321"], ["pin_latched"])


def test_a_person_who_has_looked_opens_every_latch_once(folder: Path) -> None:
    latch, card = PinLatch(str(folder)), Card("1234")
    for token in ("one", "two"):
        with pytest.raises(Wrong):
            latch.login(token, "0000", lambda: card.login("0000"), rejected=(Wrong,), unjudged=(Away,))
    (folder / "other").write_text("kept")
    latch.confirm()
    assert [file.name for file in folder.iterdir()] == ["other"]
    with pytest.raises(Wrong):
        latch.login("one", "0000", lambda: card.login("0000"), rejected=(Wrong,), unjudged=(Away,))
    with pytest.raises(SignerdError, match="pin_latched"):
        latch.login("one", "0000", lambda: card.login("0000"), rejected=(Wrong,), unjudged=(Away,))
    assert card.presented == ["0000"] * 3


def test_a_folder_that_others_may_enter_confirms_nothing(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(SignerdError, match="latch_folder"):
        PinLatch(str(folder)).confirm()
