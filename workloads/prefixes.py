"""Shared prefixes, row by row.

`prefix_request[r] = q, prefix_tokens[r] = n` says that the first n tokens of row r's prompt are the first n
tokens of row q's sequence (its prompt, then its output), and that no earlier row shares more. Row r is thus a
branch that leaves q's sequence after n tokens, which describes any prefix forest without a separate tree.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_EMPTY = -2
_ROOT = -1


@njit(cache=True)
def prefixes_from_hashes(
    offsets: NDArray[np.int64],
    ids: NDArray[np.int64],
    input_tokens: NDArray[np.integer],
    block_tokens: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Turn block ids into `(prefix_request, prefix_tokens)`, both of length N.

    Row r's prompt consists of the blocks `ids[offsets[r]:offsets[r + 1]]` (`offsets` has length N + 1), of
    `block_tokens` tokens each; the last one may be partial. Rows share a prefix where their leading ids
    agree, so ids may name a block's own content or the chain up to it. If the first k blocks are known, the
    prefix is that of the row in which the k-th was first seen, and has `min(k * block_tokens, input_tokens of
    both rows)` tokens.
    """
    rows = len(input_tokens)
    prefix_request = np.full(rows, -1, np.int64)
    prefix_tokens = np.zeros(rows, np.int32)
    # A trie in an open-addressing table, at most half full: a node is the slot of its key (parent, block).
    capacity = 2
    while capacity < 2 * len(ids):
        capacity *= 2
    parents = np.full(capacity, _EMPTY, np.int64)
    blocks = np.empty(capacity, np.int64)
    first_rows = np.empty(capacity, np.int64)
    for row in range(rows):
        node = _ROOT
        known_blocks = 0
        for i in range(offsets[row], offsets[row + 1]):
            parent = node
            node = _slot(parents, blocks, parent, ids[i])
            if parents[node] == _EMPTY:
                parents[node] = parent
                blocks[node] = ids[i]
                first_rows[node] = row
            else:  # all nodes before it were known too: a new node has no known children
                known_blocks += 1
                prefix_request[row] = first_rows[node]
        if known_blocks > 0:
            both = min(input_tokens[row], input_tokens[prefix_request[row]])
            prefix_tokens[row] = min(known_blocks * block_tokens, both)
    return prefix_request, prefix_tokens


@njit(cache=True)
def _slot(parents: NDArray[np.int64], blocks: NDArray[np.int64], parent: int, block: int) -> int:
    """The slot that holds the key (parent, block), or the empty one where it belongs."""
    mask = len(parents) - 1
    z = np.uint64(parent) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(block)  # mixed as splitmix64 does
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    slot = np.int64(z ^ (z >> np.uint64(31))) & mask
    while parents[slot] != _EMPTY and (parents[slot] != parent or blocks[slot] != block):
        slot = (slot + 1) & mask
    return int(slot)


@njit(cache=True)
def prefixes_among(
    kept: NDArray[np.bool_],
    prefix_request: NDArray[np.int64],
    prefix_tokens: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The `(prefix_request, prefix_tokens)` of the kept rows when only kept rows may be referred to.

    All arrays have length N and rows keep their numbers; entries of rows that are not kept are -1 and 0.
    Every two kept
    rows share exactly as many tokens as before: where a row left the sequence of a dropped row q, it now
    leaves the sequence of the kept row that followed q furthest. Each dropped row is walked past once, so the
    cost is O(N).
    """
    rows = len(kept)
    owners = _owners(prefix_request, prefix_tokens)
    new_request = np.full(rows, -1, np.int64)
    new_tokens = np.zeros(rows, np.int32)
    follower = np.full(rows, -1, np.int64)  # of a dropped row: the kept row so far that shares most of its own tokens
    followed_to = np.zeros(rows, np.int32)  # and how many leading tokens of the sequence they share
    for row in range(rows):
        if not kept[row]:
            continue
        owner, shared = owners[row], prefix_tokens[row]
        while owner >= 0 and not kept[owner] and follower[owner] < 0:
            follower[owner], followed_to[owner] = row, shared
            owner, shared = owners[owner], prefix_tokens[owner]
        if owner < 0:
            continue
        if kept[owner]:
            new_request[row], new_tokens[row] = owner, shared
            continue
        new_request[row], new_tokens[row] = follower[owner], min(shared, followed_to[owner])
        if shared > followed_to[owner]:
            follower[owner], followed_to[owner] = row, shared
    return new_request, new_tokens


@njit(cache=True)
def _owners(prefix_request: NDArray[np.int64], prefix_tokens: NDArray[np.int32]) -> NDArray[np.int64]:
    """Per row, the row in which the last token of its prefix was first seen; -1 where there is no prefix."""
    owner = prefix_request.copy()
    for row in range(len(owner)):
        while owner[row] >= 0 and prefix_tokens[row] <= prefix_tokens[owner[row]]:
            owner[row] = owner[owner[row]]  # that token is itself part of what the other row shares
    return owner
