import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import Refusal
from signerd.sealer.tree import consistency_proof, inclusion_proof, tree_root
from signerd.verification.merkle import EMPTY_ROOT, leaf_hash, node_hash, verify_consistency, verify_inclusion

HASHES = [leaf_hash(bytes([n])) for n in range(9)]


def test_leaves_and_nodes_hash_apart() -> None:
    """RFC 6962, section 2.1; the roots are those of the Certificate Transparency project's tests."""
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(leaf_hash(b""), leaf_hash(b"\0")).hex() == (
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    )
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.integers(1, 9), st.data())
def test_only_the_right_proof_includes(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = HASHES[:size]
    proof, root = inclusion_proof(hashes, index), tree_root(hashes)
    verify_inclusion(hashes[index], index, size, proof, root)
    wrong = data.draw(
        st.sampled_from(
            [
                (HASHES[(index + 1) % 9], index, size, proof, root),
                (hashes[index], index + size, size, proof, root),
                (hashes[index], -1, size, proof, root),
                (hashes[index], index, size, [*proof, bytes(32)], root),
                (hashes[index], index, size, proof, bytes(32)),
                (hashes[index], index, 0, proof, root),
            ]
        )
    )
    with pytest.raises(Refusal, match="inclusion_proof"):
        verify_inclusion(*wrong)


@given(st.integers(1, 9), st.data())
def test_only_the_right_proof_is_consistent(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    old, new = tree_root(HASHES[:first]), tree_root(HASHES[:second])
    proof = consistency_proof(HASHES[:second], first)
    verify_consistency(first, old, second, new, proof)
    for wrong in (
        (first, bytes(32), second, new, proof),
        (first, old, second, bytes(32), proof),
        (first, old, second, new, [*proof, bytes(32)]),
        (second + 1, old, second, new, proof),
    ):
        with pytest.raises(Refusal, match="consistency_proof"):
            verify_consistency(*wrong)
