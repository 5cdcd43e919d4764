import pytest

from signerd_key_pkcs11.settings import GostHabits, ModuleFile, Settings, SignatureOrder, understand

MODULES = {"m": "/m.so"}


def test_all_settings() -> None:
    given = {
        "modules": {"soft": "/soft.so", "vendor": {"path": "/vendor.so", "sha256": "ab" * 32}},
        "environment": {"SOFTHSM2_CONF": "/etc/softhsm2.conf"},
        "state": "/state",
        "pin_credential": "default-pin",
        "tokens": {"Release token": {"pin_file": "/pin"}, "b": {"pin_credential": "b-pin"}},
        "sessions": 4,
        "gost": {"signature": "reversed", "digest_parameter": True},
    }
    assert understand(given) == Settings(
        {"soft": ModuleFile("/soft.so"), "vendor": ModuleFile("/vendor.so", "ab" * 32)},
        "/state",
        "default-pin",
        {"Release token": "/pin", "b": "b-pin"},
        4,
        {"SOFTHSM2_CONF": "/etc/softhsm2.conf"},
        GostHabits(SignatureOrder.REVERSED, digest_parameter=True),
    )


def test_little_is_needed() -> None:
    assert understand({"modules": MODULES}) == Settings({"m": ModuleFile("/m.so")})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"modules": MODULES, "gost": {"x": 1}}, "gost.x: unknown key; expected are digest_parameter, signature"),
        ({"modules": MODULES, "gost": {"signature": "r-s"}}, "gost.signature: one of s-r, reversed is expected"),
        ({"modules": MODULES, "gost": {"digest_parameter": 1}}, "gost.digest_parameter: true or false is expected"),
        ({"modules": {}}, 'modules: at least one NAME = "/path/of/module.so" is expected'),
        ({"modules": "/m.so"}, 'modules: a table of NAME = "/path/of/module.so" is expected'),
        ({"modules": {"m": "m.so"}}, "modules.m: an absolute path is expected"),
        ({"modules": {"m": 5}}, "modules.m: an absolute path is expected"),
        ({"modules": {"m": {"sha256": "ab" * 32}}}, "modules.m.path: an absolute path is expected"),
        ({"modules": {"m": {"path": "/m", "sha256": "AB"}}}, "modules.m.sha256: 64 lowercase hex digits are expected"),
        ({"modules": {"m": {"path": "/m", "x": 1}}}, "modules.m.x: unknown key; expected are path, sha256"),
        (
            {"modules": {"a b": "/m"}},
            "modules.a b: a name of letters, digits, dots, dashes and underscores is expected, at most 64",
        ),
        (
            {"modules": MODULES, "pin": "1234"},
            (
                "pin: unknown key; expected are environment, gost, modules, pin_credential, pin_file, sessions, state,"
                " tokens"
            ),
        ),
        (
            {"modules": MODULES, "pin_file": "/p", "pin_credential": "c", "state": "/s"},
            "pin_file and pin_credential: only one of them is expected",
        ),
        (
            {"modules": MODULES, "pin_file": "/p"},
            "state: an absolute path is expected, where a wrong PIN is remembered",
        ),
        (
            {"modules": MODULES, "tokens": {"t": {"pin_file": "/p"}}},
            "state: an absolute path is expected, where a wrong PIN is remembered",
        ),
        ({"modules": MODULES, "state": "state"}, "state: an absolute path is expected"),
        ({"modules": MODULES, "pin_file": "p"}, "pin_file: an absolute path is expected"),
        (
            {"modules": MODULES, "pin_credential": "../c"},
            "pin_credential: the name of a systemd credential is expected",
        ),
        ({"modules": MODULES, "tokens": {"t": "/p"}}, "tokens.t: a table of pin_file or pin_credential is expected"),
        (
            {"modules": MODULES, "tokens": {"t": {}}},
            "tokens.t: exactly one of pin_file and pin_credential is expected",
        ),
        (
            {"modules": MODULES, "tokens": {"t": {"pin": "1"}}},
            "tokens.t.pin: unknown key; expected are pin_credential, pin_file",
        ),
        (
            {"modules": MODULES, "tokens": {"x" * 33: {"pin_file": "/p"}}},
            f"tokens.{'x' * 33}: a token's label is expected, at most 32 bytes",
        ),
        ({"modules": MODULES, "sessions": 0}, "sessions: a number from 1 to 64 is expected"),
        ({"modules": MODULES, "sessions": 65}, "sessions: a number from 1 to 64 is expected"),
        ({"modules": MODULES, "sessions": True}, "sessions: a number from 1 to 64 is expected"),
        ({"modules": MODULES, "sessions": "2"}, "sessions: a number from 1 to 64 is expected"),
        (
            {"modules": MODULES, "environment": {"LD_PRELOAD": "/evil.so"}},
            "environment.LD_PRELOAD: a variable of the module's own is expected, in capital letters",
        ),
        (
            {"modules": MODULES, "environment": {"PYTHONPATH": "/evil"}},
            "environment.PYTHONPATH: a variable of the module's own is expected, in capital letters",
        ),
        ({"modules": MODULES, "environment": {"A": 1}}, "environment.A: text is expected"),
        ({"modules": MODULES, "environment": []}, 'environment: a table of NAME = "value" is expected'),
    ],
)
def test_what_it_does_not_understand_is_told_in_a_sentence(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        understand(given)
    assert str(caught.value) == sentence
