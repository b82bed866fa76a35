"""Merkle trees with the hashing of RFC 6962 section 2.1: roots and inclusion proofs."""

import hashlib
from collections.abc import Sequence

LEAF, NODE = b"\x00", b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf; the prefix keeps a leaf from being taken for a node."""
    return hashlib.sha256(LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return hashlib.sha256(NODE + left + right).digest()


class Tree:
    """A tree over leaf hashes in order, with its levels kept: any number of proofs without hashing again."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        # A node without a sibling moves up unhashed: the same tree as RFC 6962's split at a power of two.
        self._levels: list[list[bytes]] = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            above = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            if len(below) % 2:
                above.append(below[-1])
            self._levels.append(above)

    @property
    def root(self) -> bytes:
        """The root; of no leaves it is SHA-256 of nothing."""
        return self._levels[-1][0] if self._levels[0] else hashlib.sha256().digest()

    def proof(self, index: int) -> list[bytes]:
        """Return the siblings that lead from leaf ``index`` to the root, the lowest first."""
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index //= 2
        return path


def root_of(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that ``proof`` leads to from the leaf hash at ``index`` of ``size``, None if it does not fit."""
    if not 0 <= index < size:
        return None
    found, last, rest = leaf, size - 1, list(proof)
    while last:
        # The last node of an odd level has no sibling, and moves up as it is.
        if index % 2 or index < last:
            if not rest:
                return None
            sibling = rest.pop(0)
            found = node_hash(sibling, found) if index % 2 else node_hash(found, sibling)
        index, last = index // 2, last // 2
    return None if rest else found
