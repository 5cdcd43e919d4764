import pytest

from signerd_key_gost.settings import Settings, understand

KNOWN = "directory, keys, parameters_256, parameters_512, password_credential, password_file"


def test_all_settings() -> None:
    given = {
        "directory": "/keys",
        "password_file": "/run/password",
        "keys": {"a": {"path": "/a"}, "b.1": {"credential": "cred"}},
        "parameters_256": "CryptoPro-A",
        "parameters_512": "TC26-512-C",
    }
    assert understand(given) == Settings(
        "/keys",
        "/run/password",
        {"a": "/a", "b.1": "cred"},
        {"GOST3410-2012-256": "CryptoPro-A", "GOST3410-2012-512": "TC26-512-C"},
    )


def test_what_is_not_said() -> None:
    least = understand({"directory": "/keys", "password_credential": "c"})
    assert least.password == "c"
    assert least.parameters == {"GOST3410-2012-256": "TC26-256-A", "GOST3410-2012-512": "TC26-512-A"}
    assert understand({"keys": {"a": {"path": "/a"}}}).directory is None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "directory or keys: at least one of them is expected"),
        ({"keys": {}}, "directory or keys: at least one of them is expected"),
        ({"directory": "keys"}, "directory: an absolute path is expected"),
        ({"directory": 5}, "directory: an absolute path is expected"),
        ({"directory": "/a\0b"}, "directory: an absolute path is expected"),
        ({"directory": "/k", "password": "hunter2"}, f"password: unknown key; expected are {KNOWN}"),
        (
            {"directory": "/k", "password_file": "/p", "password_credential": "c"},
            "password_file and password_credential: only one of them is expected",
        ),
        ({"directory": "/k", "password_file": "p"}, "password_file: an absolute path is expected"),
        (
            {"directory": "/k", "password_credential": "../p"},
            "password_credential: the name of a systemd credential is expected",
        ),
        ({"keys": ["a"]}, "keys: a table of NAME = {path = …} or {credential = …} is expected"),
        (
            {"keys": {"a/b": {"path": "/a"}}},
            "keys.a/b: a name of letters, digits, dots, dashes and underscores is expected, at most 64",
        ),
        ({"keys": {"a": "/a"}}, "keys.a: a table of path or credential is expected"),
        ({"keys": {"a": {}}}, "keys.a: exactly one of path and credential is expected"),
        ({"keys": {"a": {"file": "/a"}}}, "keys.a.file: unknown key; expected are credential, path"),
        (
            {"directory": "/k", "parameters_256": "TC26-512-A"},
            "parameters_256: one of TC26-256-A, TC26-256-B, TC26-256-C, TC26-256-D, CryptoPro-A is expected",
        ),
        (
            {"directory": "/k", "parameters_512": 1},
            "parameters_512: one of TC26-512-A, TC26-512-B, TC26-512-C is expected",
        ),
    ],
)
def test_what_is_not_understood(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        understand(given)
    assert str(caught.value) == sentence
