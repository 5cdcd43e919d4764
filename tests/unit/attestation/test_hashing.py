import pytest

from signerd.attestation.algorithms import COMPLIANCE_PROFILES
from signerd.attestation.hashing import HASHES, PURPOSES, hash_for

OWN = {"gost": "Streebog-256", "sm": "SM3"}


@pytest.mark.parametrize("profile", COMPLIANCE_PROFILES)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_table(profile: str, purpose: str) -> None:
    expected = OWN.get(profile, "SHA-256")
    if purpose in ("attestation", "interop"):
        expected = "SHA-256"
    elif (profile, purpose) == ("world", "graph"):
        expected = "BLAKE3-256"
    assert hash_for(profile, purpose) == expected


@pytest.mark.parametrize("profile", COMPLIANCE_PROFILES)
def test_what_serves_is_what_is_allowed(profile: str) -> None:
    own = {hash_for(profile, purpose) for purpose in PURPOSES if purpose not in ("attestation", "interop")}
    assert own <= set(HASHES[profile])
    assert HASHES.keys() == COMPLIANCE_PROFILES.keys()


def test_of_a_joined_profile_the_first_part_decides() -> None:
    assert hash_for("fips+gost", "content") == "SHA-256"
    assert hash_for("gost+fips", "content") == "Streebog-256"
    assert hash_for("world+sm", "graph") == "BLAKE3-256"
    assert hash_for("sm+world", "interop") == "SHA-256"


@pytest.mark.parametrize(("profile", "purpose"), [("", "graph"), ("nist", "graph"), ("gost+gost", "graph")])
def test_a_profile_that_is_none(profile: str, purpose: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        hash_for(profile, purpose)


@pytest.mark.parametrize("purpose", ["", "Graph", "hmac", "signing"])
def test_a_purpose_that_is_none(purpose: str) -> None:
    with pytest.raises(ValueError, match="expected a purpose out of graph, symbol"):
        hash_for("world", purpose)
