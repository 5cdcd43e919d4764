from pathlib import Path

from signerd.host.config import parse
from signerd.sealer.key_spec import KeySpec
from signerd.sealer.specs import key_specs
from signerd.verification.fido2 import Credential

TEXT = """
[plugins.auth-peercred]
certificate = "none"
[backends.soft]
scheme = "file"
certificate = "none"
settings = { directory = "/keys" }
[tenants.acme]
keys = ["file:a", "file:b"]
default_key = "file:a"
require_hardware = true
[keys."file:a"]
backend = "soft"
tenant = "acme"
generate = "ES256"
plans = ["gold", "silver"]
max_age_days = 30
warn_days = 5
[keys."file:b"]
backend = "soft"
tenant = "acme"
"""
DAY_MS = 86_400_000


def test_what_is_configured_for_a_key_and_its_tenant() -> None:
    config = parse(TEXT, "test", state=Path("/state"), socket=Path("/sign.sock"))
    assert key_specs(config) == [
        KeySpec(
            "file:a", "acme", "soft", "file", "ES256", frozenset({"gold", "silver"}), True, 30 * DAY_MS, 5 * DAY_MS
        ),
        KeySpec("file:b", "acme", "soft", "file", "", None, True, 365 * DAY_MS, 60 * DAY_MS),
    ]


def test_a_credential_and_the_key_that_it_approves() -> None:
    keys = 'keys = ["file:a", "file:b", "fido2:alice"]'
    text = TEXT.replace('keys = ["file:a", "file:b"]', keys).replace(
        "warn_days = 5", 'presence = "fido2:alice"\npresence_s = 9'
    )
    text += """
[backends.touch]
scheme = "fido2"
certificate = "none"
[keys."fido2:alice"]
backend = "touch"
tenant = "acme"
rp_id = "signer.example"
origin = "https://signer.example"
user_verification = true
"""
    first, _, credential = key_specs(parse(text, "test", state=Path("/state"), socket=Path("/sign.sock")))
    assert (first.presence, first.presence_s, first.enrolled) == ("fido2:alice", 9.0, None)
    assert credential.enrolled == Credential(b"", "signer.example", "https://signer.example", True)
    assert (credential.presence, credential.presence_s) == ("", 0.0)
