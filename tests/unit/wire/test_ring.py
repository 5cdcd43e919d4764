import msgspec
import pytest

from fakes.messages import check_strict, check_survives, structs, with_text
from signerd.wire import ring
from signerd.wire.ring import RingEntry

STRUCTS = structs(ring)


@pytest.mark.parametrize("cls", STRUCTS)
def test_a_message_survives_the_link(cls: type[msgspec.Struct]) -> None:
    check_survives(cls)


@pytest.mark.parametrize("cls", list(filter(with_text, STRUCTS)))
def test_decoding_is_strict(cls: type[msgspec.Struct]) -> None:
    check_strict(cls)


def test_a_version_is_asked_for_by_its_handle_and_without_a_key_of_its_own_it_is_keyless() -> None:
    entry = RingEntry("file:a", "acme", 1, "sha256:00", "ES256", b"spki", "file", "active", 5)
    assert (entry.name, entry.keyless) == ("file:a", False)
    assert msgspec.structs.replace(entry, handle="file:a-2").name == "file:a-2"
    assert msgspec.structs.replace(entry, keyid="").keyless
