import msgspec
import pytest

from fakes.messages import check_strict, check_survives, structs, with_text
from signerd.errors import CODES
from signerd.wire import links

STRUCTS = structs(links)


@pytest.mark.parametrize("cls", STRUCTS)
def test_a_message_survives_the_link(cls: type[msgspec.Struct]) -> None:
    check_survives(cls)


@pytest.mark.parametrize("cls", list(filter(with_text, STRUCTS)))
def test_decoding_is_strict(cls: type[msgspec.Struct]) -> None:
    check_strict(cls)


def test_every_message_has_a_type_of_its_own() -> None:
    tags = [cls.__struct_config__.tag for cls in STRUCTS if cls.__struct_config__.tag is not None]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_record_ends_as_the_class_of_its_code(code: str) -> None:
    assert links.outcome_of(code) == {"refusal": "refused", "fault": "fault"}[CODES[code].kind]


def test_a_code_that_nobody_knows_is_a_fault() -> None:
    assert links.outcome_of("key.of_tomorrow") == "fault"
