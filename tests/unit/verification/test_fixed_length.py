import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from signerd.errors import Refusal
from signerd.verification.fixed_length import from_fixed, to_fixed

HALVES = [("ES256", 32), ("ES384", 48), ("ES512", 66)]


@pytest.mark.parametrize(("algorithm", "half"), HALVES)
@pytest.mark.parametrize(("r", "s"), [(1, 2), (255, 1 << 200), (1 << 255, (1 << 255) - 1)])
def test_both_ways(algorithm: str, half: int, r: int, s: int) -> None:
    signature = encode_dss_signature(r, s)
    fixed = to_fixed(algorithm, signature)
    assert fixed == r.to_bytes(half, "big") + s.to_bytes(half, "big")
    assert from_fixed(algorithm, fixed) == signature


def test_other_algorithms_have_one_form() -> None:
    assert to_fixed("Ed25519", b"x" * 64) == from_fixed("Ed25519", b"x" * 64) == b"x" * 64


@pytest.mark.parametrize(("algorithm", "half"), HALVES)
def test_another_length_is_no_signature(algorithm: str, half: int) -> None:
    for length in (0, 1, half, 2 * half - 1, 2 * half + 1, 4 * half):
        with pytest.raises(Refusal) as caught:
            from_fixed(algorithm, bytes(length))
        assert (caught.value.code, caught.value.reason) == ("verification.failed", "signature_invalid")


@pytest.mark.parametrize("signature", [b"", b"\x30\x00", bytes(64)])
def test_what_is_no_der_is_an_error(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_fixed("ES256", signature)
