"""The prefix forest: chains of tokens that requests share, collapsed into segments.

A segment covers tokens [start, end) of every path through it. Segment ``r`` below the number of requests is the
*tail* of request ``r``: what no earlier row has, its output included. The others are what two or more requests share
up to a branch. A segment's start is its parent's end, and a block belongs to the segment that holds its last token,
so a segment owns floor(end / B) - floor(start / B) blocks.
"""

import numpy as np

from .jit import allocating, inlined
from .state import NONE, TAIL_INHERITED, TAIL_LIVE, TAIL_PRIVATE


@allocating
def grow_forest(input_tokens, output_tokens, prefix_request, prefix_tokens):
    """Insert the requests one after another; return (parent, end in tokens) of every segment.

    Each request hangs below the segment of ``prefix_request``'s path in which ``prefix_tokens`` falls; falling
    inside one splits it.
    """
    requests = len(input_tokens)
    parent = np.full(2 * requests, NONE, np.int64)
    end = np.zeros(2 * requests, np.int64)
    used = requests
    for r in range(requests):
        end[r] = input_tokens[r] + output_tokens[r]
        cut = prefix_tokens[r]
        x = prefix_request[r]
        if x == NONE:
            continue
        while parent[x] != NONE and cut <= end[parent[x]]:
            x = parent[x]
        if cut < end[x]:
            parent[used] = parent[x]
            end[used] = cut
            parent[x] = used
            x = used
            used += 1
        parent[r] = x
    return parent[:used], end[:used]


@allocating
def tail_kinds(requests, parent, follows):
    """Who else passes through each request's tail: nobody, only its own follow-ups, or requests that may arrive
    while it runs.
    """
    kind = np.full(requests, TAIL_PRIVATE, np.int64)
    for x in range(len(parent)):
        if parent[x] != NONE and parent[x] < requests:
            kind[parent[x]] = TAIL_INHERITED
    for r in range(requests):
        x = parent[r]
        ancestor = follows[r]
        while x != NONE:
            if x < requests:
                while ancestor != NONE and ancestor != x:
                    ancestor = follows[ancestor]
                if ancestor == NONE:
                    kind[x] = TAIL_LIVE
                    ancestor = follows[r]
                elif x == follows[r]:
                    break  # what lies above was settled when the parent itself was looked at
            x = parent[x]
    return kind


@allocating
def lay_out_segments(seg, requests, parent, end, block_size):
    """Fill the segment records: block ranges, and parents that skip segments too short to own a block."""
    for x in range(len(parent)):
        seg[x].end_block = end[x] // block_size
        seg[x].first_block = 0 if parent[x] == NONE else end[parent[x]] // block_size
        seg[x].shared = 1 if x >= requests else 0
        seg[x].holder_class = NONE
        seg[x].pool_slot = NONE
    for x in range(len(parent)):
        p = parent[x]
        if p != NONE and p < requests:
            seg[p].shared = 1
        while p != NONE and seg[p].first_block == seg[p].end_block:
            p = parent[p]
        seg[x].parent = p


def deepest_path(seg: np.ndarray) -> int:
    """Segments on the longest path."""
    parent = seg["parent"]
    above, depth = parent, 1
    while (above != NONE).any():
        above = np.where(above != NONE, parent[above], NONE)
        depth += 1
    return depth


@inlined
def segment_below(sim, r, x):
    """The segment after ``x`` on the way down to request ``r``'s tail (``x`` = NONE: the first)."""
    child = r
    while sim.seg[child].parent != x:
        child = sim.seg[child].parent
    return child
