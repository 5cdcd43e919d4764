from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from signerd.host.tables import TableReader, quoted


class Shape(msgspec.Struct, frozen=True):
    name: str
    size: Annotated[int, Meta(ge=1)]
    kind: Literal["a", "b"] = "a"
    code: Annotated[str, Meta(pattern="^x")] | None = None
    uids: tuple[int, ...] = ()
    ratio: float = 0.5


def read(table, **given):
    reader = TableReader("f")
    return reader.struct(Shape, table, "shape", **given), reader.problems


def test_a_table_becomes_its_struct_with_its_defaults():
    assert read({"name": "n", "size": 2, "uids": [1]}) == (Shape("n", 2, uids=(1,)), [])
    assert read({"size": 2}, name="given") == (Shape("given", 2), [])


def test_every_problem_of_a_table_is_told():
    made, problems = read({"size": 0, "kind": "c", "code": "y", "uids": [1, "2"], "ratio": "1", "other": 1})
    assert made is None
    assert problems == [
        "f: shape.other: unknown key; expected one of code, kind, name, ratio, size, uids",
        "f: shape.name: missing; expected a text",
        "f: shape.size: expected `int` >= 1",
        "f: shape.kind: expected one of a, b",
        "f: shape.code: expected a text of the form ^x",
        "f: shape.uids: at [1]: expected `int`, got `str`",
        "f: shape.ratio: expected `float`, got `str`",
    ]


def test_what_is_given_may_not_stand_in_the_table_too():
    assert read({"size": 2, "name": "x"}, name="given") == (
        None,
        ["f: shape.name: unknown key; expected one of code, kind, ratio, size, uids"],
    )


def test_a_section_of_named_tables_keeps_the_files_order():
    reader = TableReader("f")
    assert list(reader.tables({"s": {"b": {"x": 1}, "a": 5}}, "s")) == [("b", {"x": 1}), ("a", {})]
    assert reader.problems == ["f: s.a: expected a table"]
    assert list(reader.tables({}, "s")) == []
    assert list(reader.tables({"s": 1}, "s")) == []


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("a-b_1", "a-b_1"),
        ("file:x", '"file:x"'),
        ("", '""'),
        ("a.b", '"a.b"'),
        ("é\n", '"\\u00e9\\n"'),
        ("\udcff", '"\\udcff"'),
    ],
)
def test_a_key_is_written_so_that_nothing_in_it_drives_a_terminal(key, written):
    assert quoted(key) == written
