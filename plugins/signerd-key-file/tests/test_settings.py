import pytest

from signerd_key_file.settings import Settings, understand


def test_all_settings() -> None:
    given = {
        "directory": "/keys",
        "password_file": "/run/password",
        "keys": {"a": {"path": "/a"}, "b.1": {"credential": "cred"}},
    }
    assert understand(given) == Settings(
        "/keys",
        "/run/password",
        {"a": "/a", "b.1": "cred"},
    )
    assert understand({"directory": "/keys", "password_credential": "c"}).password == "c"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "directory or keys: at least one of them is expected"),
        ({"keys": {}}, "directory or keys: at least one of them is expected"),
        ({"directory": "keys"}, "directory: an absolute path is expected"),
        ({"directory": 5}, "directory: an absolute path is expected"),
        ({"directory": "/a\0b"}, "directory: an absolute path is expected"),
        (
            {"folder": "/keys"},
            "folder: unknown key; expected are directory, keys, password_credential, password_file",
        ),
        (
            {"directory": "/k", "password": "hunter2"},
            "password: unknown key; expected are directory, keys, password_credential, password_file",
        ),
        (
            {"directory": "/k", "password_file": "/p", "password_credential": "c"},
            "password_file and password_credential: only one of them is expected",
        ),
        ({"directory": "/k", "password_file": "p"}, "password_file: an absolute path is expected"),
        (
            {"directory": "/k", "password_credential": "../c"},
            "password_credential: the name of a systemd credential is expected",
        ),
        (
            {"directory": "/k", "password_credential": 7},
            "password_credential: the name of a systemd credential is expected",
        ),
        ({"keys": []}, "keys: a table of NAME = {path = …} or {credential = …} is expected"),
        ({"keys": {"a": "/a"}}, "keys.a: a table of path or credential is expected"),
        ({"keys": {"a": {}}}, "keys.a: exactly one of path and credential is expected"),
        (
            {"keys": {"a": {"path": "/a", "credential": "c"}}},
            "keys.a.path and keys.a.credential: only one of them is expected",
        ),
        ({"keys": {"a": {"file": "/a"}}}, "keys.a.file: unknown key; expected are credential, path"),
        ({"keys": {"a": {"path": "a"}}}, "keys.a.path: an absolute path is expected"),
        (
            {"keys": {"a/b": {"path": "/a"}}},
            "keys.a/b: a name of letters, digits, dots, dashes and underscores is expected, at most 64",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_key_and_what_is_expected(
    given: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        understand(given)
    assert str(caught.value) == sentence
