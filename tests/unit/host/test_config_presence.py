import pytest

from signerd.host.config import ConfigError, parse
from signerd.host.config_presence import presence_problems

GOOD = """
[daemon]
state = "/var/lib/signerd"
[plugins.auth-peercred]
certificate = "none"
[backends.soft]
certificate = "none"
scheme = "file"
[backends.touch]
certificate = "none"
scheme = "fido2"
[tenants.acme]
keys = ["file:release", "file:plain", "fido2:alice"]
default_key = "file:release"
default_keys = { gold = "file:plain" }
[tenants.other]
keys = ["file:theirs"]
[keys."file:release"]
backend = "soft"
tenant = "acme"
presence = "fido2:alice"
presence_s = 30
[keys."file:plain"]
backend = "soft"
tenant = "acme"
[keys."file:theirs"]
backend = "soft"
tenant = "other"
[keys."fido2:alice"]
backend = "touch"
tenant = "acme"
rp_id = "signer.example"
origin = "https://signer.example"
user_verification = true
"""
ALICE = 'rp_id = "signer.example"'
PLAIN = '[keys."file:plain"]\n'
RELEASE = 'presence = "fido2:alice"'


def test_a_key_that_somebody_approves_has_no_problem():
    config = parse(GOOD, "f.toml")
    assert list(presence_problems(config)) == []
    by_name = {key.key: key for key in config.keys}
    assert by_name["file:release"].presence_s == 30
    assert by_name["file:plain"].presence is None
    assert by_name["fido2:alice"].user_verification


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (RELEASE, 'presence = "fido2:bob"', 'keys."file:release".presence: expected a key of tenant acme that has rp_'),
        (RELEASE, 'presence = "file:plain"', 'keys."file:release".presence: expected a key of tenant acme that has rp'),
        (ALICE, "", 'keys."fido2:alice".rp_id: missing; expected the relying party that the credential was enrolled'),
        (
            'backend = "soft"\ntenant = "other"\n',
            f'backend = "soft"\ntenant = "other"\n{RELEASE}\n',
            'keys."file:theirs".presence: expected a key of tenant other that has rp_id, got fido2:alice',
        ),
        (RELEASE, f'{RELEASE}\nfallback = "file:plain"', 'keys."file:release".fallback: expected none with presence'),
        (
            PLAIN,
            f'{PLAIN}fallback = "file:release"\n',
            'keys."file:plain".fallback: expected a key without presence, got file:release',
        ),
        (
            PLAIN,
            f'{PLAIN}fallback = "fido2:alice"\n',
            'keys."file:plain".fallback: expected a key without rp_id, got fido2:alice',
        ),
        (ALICE, f'{ALICE}\ngenerate = "ES256"', 'keys."fido2:alice".generate: expected none with rp_id'),
        (ALICE, f'{ALICE}\nplans = ["gold"]', 'keys."fido2:alice".plans: expected none with rp_id'),
        (ALICE, f'{ALICE}\n{RELEASE}', 'keys."fido2:alice".presence: expected none with rp_id'),
        (ALICE, f'{ALICE}\nfallback = "file:plain"', 'keys."fido2:alice".fallback: expected none with rp_id'),
        (
            'default_key = "file:release"',
            'default_key = "fido2:alice"',
            "tenants.acme: expected default keys without rp_id, got fido2:alice",
        ),
        ('gold = "file:plain"', 'gold = "fido2:alice"', "tenants.acme: expected default keys without rp_id"),
        ("presence_s = 30", "presence_s = 0", 'keys."file:release".presence_s: expected'),
        ("presence_s = 30", "presence_s = 3601", 'keys."file:release".presence_s: expected'),
    ],
)
def test_what_could_not_be_approved_or_would_sign_unapproved_is_refused(old, new, problem):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new, 1), "f.toml")
    assert any(line.startswith(f"f.toml: {problem}") for line in caught.value.problems), caught.value.problems


def test_the_one_key_that_somebody_approves_is_the_default():
    text = GOOD.replace('default_key = "file:release"\ndefault_keys = { gold = "file:plain" }\n', "")
    plain = '[keys."file:plain"]\nbackend = "soft"\ntenant = "acme"\n'
    config = parse(text.replace('"file:plain", ', "").replace(plain, ""), "f.toml")
    assert config.tenants[0].default_key == "file:release"


def test_a_tenant_that_approves_alone_has_no_default_key():
    text = GOOD + '[tenants.third]\nkeys = ["fido2:bob"]\n'
    text += '[keys."fido2:bob"]\nbackend = "touch"\ntenant = "third"\nrp_id = "signer.example"\n'
    config = parse(text, "f.toml")
    assert config.tenants[2].default_key == ""


def test_what_approves_is_not_offered_as_a_default_key():
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace('default_key = "file:release"', ""), "f.toml")
    (problem,) = caught.value.problems
    assert problem == "f.toml: tenants.acme.default_key: missing; expected one of file:release, file:plain"
