import re
from collections.abc import Callable

import pytest

from signerd.contracts import settings

DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("read", "understood"),
    [
        (lambda: settings.table_of("t", {"a": 1}, "x"), {"a": 1}),
        (lambda: settings.absolute_path("p", "/a"), "/a"),
        (lambda: settings.matching("m", "ab", re.compile("[a-z]+"), "letters are expected"), "ab"),
        (lambda: settings.key_name("k", "a.b-c_1"), "a.b-c_1"),
        (lambda: settings.key_name("k", "a" * 64), "a" * 64),
        (lambda: settings.seconds("s", 1, 1, 5), 1.0),
        (lambda: settings.seconds("s", 5.0, 1, 5), 5.0),
        (lambda: settings.true_or_false("b", False), False),
        (lambda: settings.pin_of_file("d", None), None),
        (lambda: settings.pin_of_file("d", DIGEST), DIGEST),
        (lambda: settings.secret_place({}, "f", "c"), None),
        (lambda: settings.secret_place({"f": "/a"}, "f", "c"), "/a"),
        (lambda: settings.secret_place({"c": "name"}, "f", "c"), "name"),
        (lambda: settings.one_secret_place("t", {"f": "/a"}, "f", "c"), "/a"),
    ],
)
def test_what_is_understood(read: Callable[[], object], understood: object) -> None:
    assert read() == understood


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (lambda: settings.only_known({"x": 1}, {"b", "a"}, "t."), "t.x: unknown key; expected are a, b"),
        (lambda: settings.table_of("t", [], "NAME = 1"), "t: a table of NAME = 1 is expected"),
        (lambda: settings.absolute_path("p", "a"), "p: an absolute path is expected"),
        (lambda: settings.absolute_path("p", "/a\0"), "p: an absolute path is expected"),
        (lambda: settings.absolute_path("p", None), "p: an absolute path is expected"),
        (lambda: settings.matching("m", "a\n", re.compile("[a-z]+"), "letters are expected"), "m: letters are"),
        (lambda: settings.matching("m", 5, re.compile("[0-9]"), "a digit is expected"), "m: a digit is expected"),
        *[
            (lambda name=name: settings.key_name("k", name), "k: a name of letters, digits")
            for name in ("", "a/b", "..", "-a", "a\n", "a" * 65)
        ],
        (lambda: settings.seconds("s", True, 0, 5), "s: seconds from 0 to 5 are expected"),
        (lambda: settings.seconds("s", 5.1, 0, 5), "s: seconds from 0 to 5 are expected"),
        (lambda: settings.seconds("s", float("nan"), 0, 5), "s: seconds from 0 to 5 are expected"),
        (lambda: settings.seconds("s", "1", 0, 5), "s: seconds from 0 to 5 are expected"),
        (lambda: settings.true_or_false("b", 1), "b: true or false is expected"),
        (lambda: settings.pin_of_file("d", DIGEST[1:]), "d: 64 lowercase hex digits are expected"),
        (lambda: settings.pin_of_file("d", "A" * 64), "d: 64 lowercase hex digits are expected"),
        (lambda: settings.secret_place({"f": "/a", "c": "b"}, "f", "c", "t."), "t.f and t.c: only one of them"),
        (lambda: settings.one_secret_place("t", {}, "f", "c"), "t: exactly one of f and c is expected"),
        (lambda: settings.one_secret_place("t", "/a", "f", "c"), "t: a table of f or c is expected"),
        (lambda: settings.one_secret_place("t", {"f": "/a", "x": 1}, "f", "c"), "t.x: unknown key"),
        (lambda: settings.secret_place({"f": "a"}, "f", "c", "t."), "t.f: an absolute path is expected"),
        (lambda: settings.secret_place({"c": "../a"}, "f", "c"), "c: the name of a systemd credential is expected"),
        (lambda: settings.secret_place({"c": 7}, "f", "c"), "c: the name of a systemd credential is expected"),
    ],
)
def test_what_is_not_is_said_in_a_sentence_that_begins_with_the_key(read: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        read()
