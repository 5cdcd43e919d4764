"""Refusing a document: true pointers, harmless texts, bounded cost."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.contracts.violation import SHOWN, invalid, json_pointer, refuse_invalid, shown
from signerd.errors import Refusal

ITEM = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
SCHEMA = jsonschema_rs.validator_for(
    {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "items": {"type": "array", "uniqueItems": True, "items": ITEM},
            "deep": {"type": "object"},
            "either": {
                "anyOf": [{"type": "string"}, {"type": "object", "properties": {"n": {"type": "integer"}}}]
            },
        },
    }
)


def refused(document, schema=SCHEMA, skip=0):
    with pytest.raises(Refusal) as caught:
        refuse_invalid("thing", schema, document, skip)
    assert caught.value.code == "predicate.invalid"
    assert caught.value.reason == "schema_violation"
    return caught.value


@pytest.mark.parametrize(
    ("document", "pointer", "text"),
    [
        ({}, "", "not a valid thing: the property 'name' is missing, at its top"),
        ({"name": "n", "odd": 1}, "", "not a valid thing: the property 'odd' is unknown, at its top"),
        ({"name": 1}, "/name", "not a valid thing: this value has the wrong JSON type, at /name"),
        ({"name": "n", "items": [{"n": 1}, {}]}, "/items/1", "the property 'n' is missing, at /items/1"),
        (
            {"name": "n", "either": {"n": "x"}},
            "/either/n",
            "this value has the wrong JSON type, at /either/n",
        ),
        ({"name": "n", "either": 1}, "/either", "the rule 'anyOf' of its schema is broken, at /either"),
    ],
)
def test_the_fault_is_named_with_its_pointer(document, pointer, text):
    refusal = refused(document)
    assert refusal.details == {"reason": "schema_violation", "pointer": pointer}
    assert text in refusal.public


def test_a_good_document_passes():
    refuse_invalid("thing", SCHEMA, {"name": "n"})


def test_steps_into_a_frame_are_left_out():
    assert refused({"name": "n", "items": [{"n": "x"}]}, skip=2).details["pointer"] == "/n"


class Counted:
    """A schema that counts what it was asked to explain."""

    def __init__(self):
        self.explained = []

    def is_valid(self, instance):
        return SCHEMA.is_valid(instance)

    def validate(self, instance):
        self.explained.append(len(str(instance)))
        SCHEMA.validate(instance)


LARGE = [{"n": number} for number in range(50_000)]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"items": LARGE}, ""),
        ({"name": "n", "odd": LARGE}, ""),
        ({"name": "n", "items": [*LARGE, {"n": "x"}]}, "/items/50000/n"),
        ({"name": "n", "items": [*LARGE[:31_234], 1, *LARGE[31_234:]]}, "/items/31234"),
        ({"name": "n", "items": [{"n": "x"}, *LARGE]}, "/items/0/n"),
        ({"name": "n", "items": [*LARGE, LARGE[0]]}, "/items"),
        ({"name": "n", "deep": dict.fromkeys(map(str, range(50_000))), "odd": 1}, ""),
    ],
)
def test_a_large_document_is_explained_by_a_small_part_of_it(document, pointer):
    schema = Counted()
    assert refused(document, schema).details["pointer"] == pointer
    assert all(size < 20_000 for size in schema.explained)


def test_a_validator_that_contradicts_itself_fails_closed():
    class Contradicting:
        def is_valid(self, instance):
            return False

        def validate(self, instance):
            return None

    with pytest.raises(ValueError, match="contradicts itself"):
        refuse_invalid("thing", Contradicting(), {})


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ([], ""),
        (["a", 0, "b"], "/a/0/b"),
        (["a/b", "c~d", ""], "/a~1b/c~0d/"),
        (["a", "\x1b[31m", "b"], "/a"),
        (["a", "k" * (SHOWN + 1), "b"], "/a"),
        (["\ud800"], ""),
        (["é"] * 300, "/é" * 256),
    ],
)
def test_a_pointer_ends_at_the_last_name_that_can_be_shown(path, pointer):
    assert json_pointer(path) == pointer


@given(st.text())
def test_what_is_shown_is_short_and_prints(text):
    made = shown(text)
    assert len(made) <= SHOWN
    assert made.isprintable()
    if text.isprintable() and len(text) <= SHOWN:
        assert made == text


@given(st.lists(st.text() | st.integers(min_value=0)))
def test_a_pointer_is_always_printable_and_short(path):
    pointer = json_pointer(path)
    assert pointer.isprintable()
    assert len(pointer) <= 512
    assert pointer == "" or pointer.startswith("/")


def test_a_refusal_of_ones_own():
    refusal = invalid("thing", ["version"], "version_unsupported", "its version is unknown")
    assert refusal.public == "not a valid thing: its version is unknown, at /version"
    assert refusal.details == {"reason": "version_unsupported", "pointer": "/version"}
