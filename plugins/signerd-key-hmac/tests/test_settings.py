import pytest

from signerd_key_hmac.settings import directory_of


def test_the_directory() -> None:
    assert directory_of({"directory": "/secrets"}) == "/secrets"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "directory: an absolute path is expected"),
        ({"directory": "secrets"}, "directory: an absolute path is expected"),
        ({"directory": 5}, "directory: an absolute path is expected"),
        ({"directory": "/a\0b"}, "directory: an absolute path is expected"),
        ({"directory": "/a", "secret": "hunter2"}, "secret: unknown key; expected are directory"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        directory_of(given)
    assert str(caught.value) == sentence
