import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.errors import Refusal
from signerd.sealer.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# The reference leaves of the Certificate Transparency project, and the roots of their first n (RFC 6962
# trees).
LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(b"%d" % n) for n in range(70)]


def test_known_roots():
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    assert [tree_root(hashes[: n + 1]).hex() for n in range(8)] == ROOTS
    assert tree_root([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_frontier_is_small_resumes_and_agrees_with_the_definition():
    def by_definition(hashes):
        if len(hashes) == 1:
            return hashes[0]
        middle = 1
        while middle * 2 < len(hashes):
            middle *= 2
        return node_hash(by_definition(hashes[:middle]), by_definition(hashes[middle:]))

    frontier = Frontier()
    for count, hashed in enumerate(HASHES, 1):
        assert frontier.append(hashed) == count - 1
        assert frontier.root() == by_definition(HASHES[:count])
        assert len(frontier.peaks) <= count.bit_length()
        frontier = Frontier(frontier.size, frontier.peaks)


@pytest.mark.parametrize(("size", "peaks"), [(3, [b"x" * 32]), (1, [b"short"]), (0, [b"x" * 32])])
def test_a_frontier_that_does_not_fit_is_refused(size, peaks):
    with pytest.raises(ValueError, match="peaks"):
        Frontier(size, peaks)


def test_every_leaf_of_every_small_tree_has_a_proof_that_verifies():
    for size in range(1, 34):
        root = tree_root(HASHES[:size])
        for index in range(size):
            verify_inclusion(HASHES[index], index, size, inclusion_proof(HASHES[:size], index), root)


def test_every_pair_of_small_trees_is_consistent():
    for second in range(1, 34):
        root = tree_root(HASHES[:second])
        for first in range(1, second + 1):
            proof = consistency_proof(HASHES[:second], first)
            verify_consistency(first, tree_root(HASHES[:first]), second, root, proof)
    verify_consistency(0, EMPTY_ROOT, 5, tree_root(HASHES[:5]), [])


@given(st.integers(2, 70), st.data())
def test_an_altered_inclusion_proof_fails(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(HASHES[:size], index), tree_root(HASHES[:size])
    place = data.draw(st.integers(0, len(proof) - 1))
    altered = [bytes(32) if n == place else step for n, step in enumerate(proof)]
    other = data.draw(st.integers(-1, size).filter(lambda n: n != index))
    for hashed, at, total, path, head in (
        (HASHES[index], index, size, altered, root),
        (HASHES[index], index, size, proof[:-1], root),
        (HASHES[index], index, size, [*proof, bytes(32)], root),
        (HASHES[index], other, size, proof, root),
        (bytes(32), index, size, proof, root),
        (HASHES[index], index, size, proof, bytes(32)),
    ):
        with pytest.raises(Refusal) as caught:
            verify_inclusion(hashed, at, total, path, head)
        assert (caught.value.code, caught.value.reason) == ("verification.failed", "inclusion_proof")


@given(st.integers(2, 70), st.data())
def test_an_altered_consistency_proof_fails(second, data):
    first = data.draw(st.integers(1, second - 1))
    proof = consistency_proof(HASHES[:second], first)
    old, new = tree_root(HASHES[:first]), tree_root(HASHES[:second])
    place = data.draw(st.integers(0, len(proof) - 1))
    altered = [bytes(32) if n == place else step for n, step in enumerate(proof)]
    for arguments in (
        (first, old, second, new, altered),
        (first, old, second, new, proof[:-1]),
        (first, old, second, new, [*proof, bytes(32)]),
        (first, bytes(32), second, new, proof),
        (first, old, second, bytes(32), proof),
        (second, old, first, new, proof),
        (0, old, second, new, []),
        (second, old, second, new, []),
        (first, old, second, new, []),
    ):
        with pytest.raises(Refusal) as caught:
            verify_consistency(*arguments)
        assert (caught.value.code, caught.value.reason) == ("verification.failed", "consistency_proof")


def test_proofs_of_what_is_not_there():
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(HASHES[:3], 3)
    with pytest.raises(ValueError, match="no tree"):
        consistency_proof(HASHES[:3], 4)
