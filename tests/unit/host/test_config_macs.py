from pathlib import Path

import pytest

from signerd.host.config import ConfigError, decode, encode, parse

BASE = """
[sockets.sign]
[plugins.auth-peercred]
certificate = "none"
[backends.hmac]
certificate = "none"
scheme = "hmac"
settings = { directory = "/secrets" }
[backends.file]
certificate = "none"
scheme = "file"
settings = { directory = "/keys" }
[tenants.local]
keys = ["file:a", "hmac:k"]
[keys."file:a"]
backend = "file"
tenant = "local"
[keys."hmac:k"]
backend = "hmac"
tenant = "local"
purposes = ["signing", "webhook-interop"]
algorithm = "HMAC-SHA256"
"""


def problems(old: str = "", new: str = "") -> list[str]:
    assert old in BASE
    with pytest.raises(ConfigError) as caught:
        parse(BASE.replace(old, new), "f", state=Path("/state"))
    return [problem.removeprefix("f: ") for problem in caught.value.problems]


def test_the_one_key_that_signs_is_the_default() -> None:
    config = parse(BASE, "f", state=Path("/state"))
    assert config.tenants[0].default_key == "file:a"
    made = next(key for key in config.keys if key.key == "hmac:k")
    assert (made.purposes, made.algorithm, made.generate) == (("signing", "webhook-interop"), "HMAC-SHA256", None)
    assert decode(encode(config)) == config


def test_a_tenant_whose_keys_all_make_macs_has_none() -> None:
    text = BASE.replace('keys = ["file:a", "hmac:k"]', 'keys = ["hmac:k"]')
    text = text.replace('[keys."file:a"]\nbackend = "file"\ntenant = "local"\n', "")
    config = parse(text, "f", state=Path("/state"))
    assert config.tenants[0].default_key == ""
    assert decode(encode(config)) == config


K = 'keys."hmac:k"'
ALGORITHM = 'algorithm = "HMAC-SHA256"\n'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ALGORITHM, "", f"{K}.algorithm: missing; expected the algorithm of the MACs"),
        (
            ALGORITHM, 'algorithm = "HMAC-SHA512"\n',
            f"{K}.algorithm: expected one of HMAC-SHA256 for webhook-interop in profile world",
        ),
        (
            'purposes = ["signing", "webhook-interop"]\nalgorithm = "HMAC-SHA256"\n',
            'purposes = ["signing"]\nalgorithm = "HMAC-SM3"\n',
            f"{K}.algorithm: expected one of HMAC-SHA256, HMAC-SHA384, HMAC-SHA512 for signing in profile world",
        ),
        ('purposes = ["signing", "webhook-interop"]\n', "", f"{K}.algorithm: expected with purposes only"),
        ('"signing", "webhook-interop"]', '"signing", "signing"]', f"{K}.purposes: expected each purpose once"),
        (ALGORITHM, f'{ALGORITHM}generate = "ES256"\n', f"{K}.generate: expected the key's algorithm"),
        (ALGORITHM, f'{ALGORITHM}generate = "HMAC-SHA384"\n', f"{K}.generate: expected the key's algorithm"),
        (
            ALGORITHM, f'{ALGORITHM}fallback = "file:a"\n',
            f"{K}: expected neither keyless nor fallback with purposes",
        ),
        (
            '[keys."file:a"]\n', '[keys."file:a"]\nfallback = "hmac:k"\n',
            'keys."file:a".fallback: expected a key that signs, hmac:k makes MACs',
        ),
        (
            '[keys."file:a"]\n', '[keys."file:a"]\ngenerate = "HMAC-SHA256"\n',
            'keys."file:a".generate: expected the algorithm of a key that signs, without purposes',
        ),
        (
            '[tenants.local]\n', '[tenants.local]\ndefault_key = "hmac:k"\n',
            "tenants.local.default_key: expected a key that signs, hmac:k makes MACs",
        ),
        (
            '[tenants.local]\n', '[tenants.local]\ndefault_keys = { gold = "hmac:k" }\n',
            "tenants.local.default_keys.gold: expected a key that signs, hmac:k makes MACs",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(old: str, new: str, expected: str) -> None:
    assert expected in problems(old, new)


@pytest.mark.parametrize(
    "line", ['purposes = []', 'purposes = ["payments"]', 'purposes = "signing"', 'algorithm = "HMAC-MD5"']
)
def test_what_is_no_purpose_or_algorithm(line: str) -> None:
    name = line.partition(" ")[0]
    old = 'purposes = ["signing", "webhook-interop"]' if name == "purposes" else ALGORITHM.strip()
    (problem,) = problems(old, line)
    assert problem.startswith(f"{K}.{name}")
