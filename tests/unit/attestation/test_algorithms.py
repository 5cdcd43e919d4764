from signerd.attestation.algorithms import COSIGN_ALGORITHMS, PROFILES, SIGNATURE_DIGEST


def test_every_profile_and_digest_speaks_of_algorithms_that_are_served() -> None:
    assert all(allowed <= COSIGN_ALGORITHMS for allowed in PROFILES.values())
    assert set(SIGNATURE_DIGEST) < COSIGN_ALGORITHMS
