from pathlib import Path

from signerd.host.config import parse
from signerd.sealer.keyring import KeySpec
from signerd.sealer.specs import key_specs

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
