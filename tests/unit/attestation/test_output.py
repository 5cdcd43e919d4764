"""Output profiles: which algorithms each carries, and what leaves as a bundle."""

from typing import get_args, get_type_hints

import pytest

from signerd.attestation.algorithms import ALGORITHMS, COSIGN_ALGORITHMS
from signerd.attestation.output import OUTPUT_PROFILES
from signerd.errors import Refusal
from signerd.wire.params import Options


def test_there_are_as_many_as_a_request_can_ask_for() -> None:
    asked, _ = get_args(get_type_hints(Options)["profile"])
    assert get_args(asked) == tuple(OUTPUT_PROFILES)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_cosign_carries_what_it_verifies_and_dsse_everything(algorithm: str) -> None:
    OUTPUT_PROFILES["dsse"].check(algorithm)
    if algorithm in COSIGN_ALGORITHMS:
        OUTPUT_PROFILES["cosign"].check(algorithm)
        return
    with pytest.raises(Refusal) as caught:
        OUTPUT_PROFILES["cosign"].check(algorithm)
    assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "not_for_cosign")
    assert algorithm in caught.value.public


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_cose_carries_what_it_has_a_recommended_number_for(algorithm: str) -> None:
    if algorithm in ("ES256", "ES384", "ES512", "Ed25519"):
        OUTPUT_PROFILES["cose"].check(algorithm)
        return
    with pytest.raises(Refusal) as caught:
        OUTPUT_PROFILES["cose"].check(algorithm)
    assert (caught.value.code, caught.value.reason) == ("key.algorithm_refused", "not_for_cose")
    assert caught.value.details == {"reason": "not_for_cose", "profile": "cose", "algorithm": algorithm}


@pytest.mark.parametrize(
    ("algorithms", "companion"),
    [
        ([], ()),
        (["ES384"], ()),
        (["ES256"], (0,)),
        (["Ed25519", "ES384", "ES256", "ES256"], (2,)),
        (["FIDO2-ES256", "RSA-PSS-SHA256"], ()),
    ],
)
def test_the_companion_is_the_first_key_of_es256(algorithms: list[str], companion: tuple[int, ...]) -> None:
    assert OUTPUT_PROFILES["dsse"].bundled(algorithms) == companion
    assert OUTPUT_PROFILES["cosign"].bundled(algorithms) == tuple(range(len(algorithms)))
    assert OUTPUT_PROFILES["cose"].bundled(algorithms) == ()
    assert OUTPUT_PROFILES["dsse"].bundled(algorithms, statement=False) == ()
