"""Trees and proofs as RFC 6962 section 2.1 defines them."""

import hashlib

import pytest

from control_plane.domain.merkle import Tree, leaf_hash, node_hash, root_of


def by_definition(leaves: list[bytes]) -> bytes:
    """The root by the recursion of the RFC."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(by_definition(leaves[:split]), by_definition(leaves[split:]))


def test_the_hashes_are_those_of_the_rfc() -> None:
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert node_hash(b"a", b"b") == hashlib.sha256(b"\x01ab").digest()
    assert Tree([]).root == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("count", [*range(1, 18), 31, 32, 33])
def test_every_proof_leads_to_the_root_and_no_other_does(count: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(count)]
    tree = Tree(leaves)
    assert tree.root == by_definition(leaves)
    for index, leaf in enumerate(leaves):
        proof = tree.proof(index)
        assert root_of(leaf, index, count, proof) == tree.root
        assert root_of(leaf_hash(b"other"), index, count, proof) != tree.root
        assert root_of(leaf, index, count, [*proof, b"x" * 32]) is None
        if proof:
            assert root_of(leaf, index, count, proof[:-1]) is None
    assert root_of(leaves[0], count, count, []) is None
