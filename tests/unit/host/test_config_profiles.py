from pathlib import Path

import msgspec
import pytest

from signerd.host.config import embedded
from signerd.host.config_model import Config
from signerd.host.config_profiles import profile_problems

replace = msgspec.structs.replace


def config(profile: str, generate: str | None = "ES256") -> Config:
    plain = embedded(Path("/state"), Path("/run/sign.sock"))
    (tenant,), (key,) = plain.tenants, plain.keys
    return replace(plain, tenants=(replace(tenant, profile=profile),), keys=(replace(key, generate=generate),))


@pytest.mark.parametrize("profile", ["world", "fips", "eidas", "kcmvp", "fips+gost", "gost+fips", "sm+world"])
def test_what_fits(profile: str) -> None:
    assert list(profile_problems(config(profile))) == []


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("nist", "expected profiles out of world, fips, eidas, kcmvp, gost, sm, joined by +, got nist"),
        ("FIPS", "expected profiles out of world, fips, eidas, kcmvp, gost, sm, joined by +, got FIPS"),
        ("", 'expected profiles out of world, fips, eidas, kcmvp, gost, sm, joined by +, got ""'),
        ("fips+nist", "expected profiles out of world, fips, eidas, kcmvp, gost, sm, joined by +, got \"fips+nist\""),
        ("fips+gost+fips", "expected each part once, got \"fips+gost+fips\""),
    ],
)
def test_a_profile_that_is_none(profile: str, told: str) -> None:
    assert list(profile_problems(config(profile))) == [f"tenants.local.profile: {told}"]


@pytest.mark.parametrize(
    ("profile", "generate", "allowed"),
    [
        ("kcmvp", "ES384", "ES256, RSA-PKCS1-SHA256, RSA-PSS-SHA256"),
        ("eidas", "Ed25519", "ES256, ES384, ES512, RSA-PKCS1-SHA256, RSA-PSS-SHA256"),
        ("gost", "ES256", "GOST3410-2012-256, GOST3410-2012-512"),
        ("sm", "Ed25519", "SM2-SM3"),
        ("gost+sm", "ES256", "GOST3410-2012-256, GOST3410-2012-512, SM2-SM3"),
    ],
)
def test_a_key_that_would_be_made_outside_its_profile(profile: str, generate: str, allowed: str) -> None:
    (line,) = profile_problems(config(profile, generate))
    assert line == (
        f'keys."file:default".generate: expected an algorithm of the profile {profile} of tenant local ({allowed}), '
        f"got {generate}"
    )
    assert list(profile_problems(config(profile, None))) == []
