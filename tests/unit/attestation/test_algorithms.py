from itertools import permutations

import pytest

from signerd.attestation.algorithms import (
    ALGORITHMS,
    COMPANION_ALGORITHM,
    COMPLIANCE_PROFILES,
    COSIGN_ALGORITHMS,
    SIGNATURE_DIGEST,
    allows,
    check_algorithm,
    parts_of,
)
from signerd.errors import Refusal

EC = "ES256 ES384 ES512"
FIDO = {"ES256": "FIDO2-ES256", "Ed25519": "FIDO2-Ed25519"}
ROWS = {
    "world": f"{EC} Ed25519 RSA-PKCS1-SHA256 RSA-PSS-SHA256 ML-DSA-65",
    "fips": f"{EC} Ed25519 RSA-PKCS1-SHA256 RSA-PSS-SHA256",
    "eidas": f"{EC} RSA-PKCS1-SHA256 RSA-PSS-SHA256",
    "kcmvp": "ES256 RSA-PKCS1-SHA256 RSA-PSS-SHA256",
    "gost": "GOST3410-2012-256 GOST3410-2012-512",
    "sm": "SM2-SM3",
}
"""The table of docs/profiles.md, written a second time."""
NONE = ("", "es256", "ES256 ", "RS256", "RSA", "GOST3410-2001", "SM2", "ML-DSA-44", "HMAC-SHA256", "none")


def wanted(profile: str) -> set[str]:
    row = set(ROWS[profile].split())
    return row | {FIDO[name] for name in row & FIDO.keys()}


def refused(profile: str, algorithm: str, bits: int | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        check_algorithm(profile, algorithm, bits)
    assert caught.value.code == "key.algorithm_refused"
    assert profile in caught.value.public
    told = {"reason": caught.value.reason, "profile": profile, "algorithm": algorithm}
    assert caught.value.details == told
    return caught.value.reason


@pytest.mark.parametrize("profile", ROWS)
@pytest.mark.parametrize("algorithm", sorted({*ALGORITHMS, *NONE}))
def test_every_profile_allows_its_row_and_nothing_else(profile: str, algorithm: str) -> None:
    assert allows(profile, algorithm) == (algorithm in wanted(profile))
    if algorithm in wanted(profile):
        check_algorithm(profile, algorithm)
    else:
        assert refused(profile, algorithm) == "outside_profile"


def test_there_is_no_other_profile_and_no_algorithm_that_none_allows() -> None:
    assert set(COMPLIANCE_PROFILES) == set(ROWS)
    assert set().union(*map(wanted, ROWS)) == ALGORITHMS


@pytest.mark.parametrize("algorithm", ["RSA-PKCS1-SHA256", "RSA-PSS-SHA256"])
@pytest.mark.parametrize(
    ("profile", "shortest"), [("world", 2048), ("fips", 2048), ("kcmvp", 2048), ("eidas", 3072), ("eidas+fips", 2048)]
)
def test_rsa_is_as_long_as_the_profile_asks_for(profile: str, shortest: int, algorithm: str) -> None:
    check_algorithm(profile, algorithm, shortest)
    assert refused(profile, algorithm, shortest - 1) == "rsa_too_short"
    assert refused("gost", algorithm, 4096) == "outside_profile"


@pytest.mark.parametrize(("one", "other"), list(permutations(ROWS, 2)))
def test_a_joined_profile_allows_what_a_part_of_it_allows(one: str, other: str) -> None:
    joined = f"{one}+{other}"
    assert parts_of(joined) == (one, other)
    assert {name for name in ALGORITHMS if allows(joined, name)} == wanted(one) | wanted(other)


@pytest.mark.parametrize("profile", ["", "+", "fips+", "+gost", "FIPS", "fips + gost", "fips,gost", "fips+nist", "all"])
def test_what_is_no_profile(profile: str) -> None:
    with pytest.raises(ValueError, match="expected profiles out of"):
        parts_of(profile)


@pytest.mark.parametrize("profile", ["fips+fips", "gost+fips+gost"])
def test_a_part_stands_once(profile: str) -> None:
    with pytest.raises(ValueError, match="once"):
        parts_of(profile)


def test_what_cosign_needs_an_option_for_is_what_it_carries() -> None:
    assert set(SIGNATURE_DIGEST) < COSIGN_ALGORITHMS
    assert COMPANION_ALGORITHM in COSIGN_ALGORITHMS - set(SIGNATURE_DIGEST)
