import pytest

from signerd.contracts.key_names import name_of, next_version
from signerd.contracts.values import KeyDescription
from signerd.errors import Refusal

MADE = KeyDescription("ES256", "sha256:00", b"")


def reason(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(Refusal) as caught:
        function(*args)
    return f"{caught.value.code} {caught.value.reason}"


def test_the_name_of_a_reference() -> None:
    assert name_of("file:", "file:a.b-c_d") == "a.b-c_d"
    for other in ("a", "gost:a", "file:", "file:../a", "file:-a", "file:" + "a" * 65, "file:a\n"):
        assert reason(name_of, "file:", other) == "key.not_found reference"


def test_the_first_free_name_is_the_next_version() -> None:
    there = {"file:k.v3"}

    def generate(reference: str) -> KeyDescription:
        if reference in there:
            raise Refusal("key.forbidden", "exists", "there is a key of this name already")
        return MADE

    made = next_version("file:", "file:k.v7", generate, {"k.v2"})
    assert (made.key, made.description) == ("file:k.v4", MADE)


def test_another_refusal_ends_the_search() -> None:
    def generate(reference: str) -> KeyDescription:
        raise Refusal("key.algorithm_refused", "unknown_algorithm", f"not made: {reference}")

    assert reason(next_version, "file:", "file:k", generate) == "key.algorithm_refused unknown_algorithm"
    assert reason(next_version, "file:", "file:" + "k" * 60, generate) == "key.forbidden no_free_name"
