"""What an infinite cache of blocks would see: hits, times between uses, blocks that will be used again.

A block is full if all its tokens are there. A request uses the full blocks of its prompt when it arrives, and leaves
those that its answer completes, which count as used then too. Blocks are the same where all tokens up to their
end are.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workloads.workload import Workload

LEAST_S = 1e-3
BINS_PER_DECADE = 50  # quantiles are upper borders of bins, at most 5 % too large
DECADES = 10
WITHIN_S = (1, 10, 60, 600, 3600)


@dataclass(frozen=True)
class ReuseTimes:
    """Of the hits of one category's requests: time since the block's last use, counted by block.

    within: by seconds, the share of reuses that come so soon. cdf_s, cdf: where the distribution function rises.
    """

    hits: int
    quantiles_s: dict[str, float]
    within: dict[int, float]
    cdf_s: NDArray[np.float64]
    cdf: NDArray[np.float64]


@dataclass(frozen=True)
class Reuse:
    """Of blocks of `block_tokens`.

    hit_ratio: hit tokens over prompt tokens. block_hit_ratio: hit blocks over full prompt blocks.
    blocks: different ones. reused_share: the share of them that is used again at all.
    life_s: quantiles of the time from first to last use, over all blocks (0 for one that is used once).
    live_blocks: at the end of each window, how many have been used and will be again.
    """

    block_tokens: int
    hit_ratio: float
    block_hit_ratio: float
    blocks: int
    reused_share: float
    life_s: dict[str, float]
    live_blocks: NDArray[np.int64]
    reuse_times: dict[str, ReuseTimes]


def describe_reuse(
    workload: Workload, arrival_s: NDArray[np.float64], block_tokens: int, window_ends_s: NDArray[np.float64]
) -> Reuse:
    """`arrival_s`: of every request, also of follow-ups, in seconds; `window_ends_s` ascending."""
    prompt_blocks = workload.input_tokens.astype(np.int64) // block_tokens
    all_blocks = (workload.input_tokens.astype(np.int64) + workload.output_tokens) // block_tokens
    shared_blocks = workload.prefix_tokens.astype(np.int64) // block_tokens
    reach = _reach(workload.prefix_request, shared_blocks)
    shape = (len(workload.category_names), DECADES * BINS_PER_DECADE + 1)
    hits, histogram, first_s, last_s = _uses(
        np.argsort(arrival_s, kind="stable"),
        arrival_s,
        workload.prefix_request,
        shared_blocks,
        prompt_blocks,
        all_blocks,
        reach,
        workload.category,
        np.zeros(shape, np.int64),
    )
    blocks = int((all_blocks - shared_blocks).sum())
    ends = np.concatenate(([-np.inf], window_ends_s))
    used = np.cumsum(np.histogram(first_s, ends)[0])
    dead = np.cumsum(np.histogram(last_s, ends)[0])
    return Reuse(
        block_tokens=block_tokens,
        hit_ratio=float(hits * block_tokens / workload.input_tokens.sum(dtype=np.int64)),
        block_hit_ratio=float(hits / max(prompt_blocks.sum(), 1)),
        blocks=blocks,
        reused_share=len(first_s) / max(blocks, 1),
        life_s=_life_quantiles(last_s - first_s, blocks),
        live_blocks=used - dead,
        reuse_times={
            name: _reuse_times(counts)
            for name, counts in zip(workload.category_names, histogram, strict=True)
            if counts.sum() > 0
        },
    )


def _life_quantiles(life_s: NDArray[np.float64], blocks: int) -> dict[str, float]:
    """With those of the blocks that are used once, which have no entry in `life_s`."""
    if blocks == 0:
        return {}
    once = blocks - len(life_s)
    ordered = np.sort(life_s)
    ranks = {f"p{q}": int(np.ceil(q / 100 * blocks)) - 1 - once for q in (50, 90, 99)}
    return {name: float(ordered[rank]) if rank >= 0 else 0.0 for name, rank in ranks.items()}


def _reuse_times(counts: NDArray[np.int64]) -> ReuseTimes:
    upper_s = LEAST_S * 10 ** ((np.arange(len(counts))) / BINS_PER_DECADE)
    cdf = np.cumsum(counts) / counts.sum()
    quantiles = {f"p{q}": float(upper_s[np.searchsorted(cdf, q / 100)]) for q in (10, 50, 80, 90, 99)}
    within = {s: float(cdf[np.searchsorted(upper_s, s * (1 + 1e-9), side="right") - 1]) for s in WITHIN_S}
    some = counts > 0
    return ReuseTimes(int(counts.sum()), quantiles, within, upper_s[some], cdf[some])


@njit(cache=True)
def _reach(prefix_request: NDArray[np.int64], shared_blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per row, the end of those of its own blocks that other rows use too; at least `shared_blocks`."""
    reach = shared_blocks.copy()
    for row in range(len(reach)):
        owner, end = prefix_request[row], shared_blocks[row]
        while end > 0:
            reach[owner] = max(reach[owner], end)
            end = min(end, shared_blocks[owner])
            owner = prefix_request[owner]
    return reach


@njit(cache=True)
def _uses(
    order: NDArray[np.int64],
    arrival_s: NDArray[np.float64],
    prefix_request: NDArray[np.int64],
    shared_blocks: NDArray[np.int64],
    prompt_blocks: NDArray[np.int64],
    all_blocks: NDArray[np.int64],
    reach: NDArray[np.int64],
    category: NDArray[np.int32],
    histogram: NDArray[np.int64],
) -> tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The hits, the reuse times by category and bin, and first and last use of the blocks that more rows use.

    Only those blocks are tracked: block b of row r, if `shared_blocks[r] <= b < reach[r]`, is `base[r] + b`.
    """
    base = np.empty(len(order), np.int64)
    tracked = 0
    for row in range(len(order)):
        base[row] = tracked - shared_blocks[row]
        tracked += reach[row] - shared_blocks[row]
    first_s = np.full(tracked, np.inf)
    last_s = np.empty(tracked)
    hits = 0
    for row in order:
        now_s = arrival_s[row]
        seen_s, bin_ = np.nan, 0  # of the block before, as neighbours mostly were used together
        owner, end = row, all_blocks[row]
        while end > 0:
            for block in range(shared_blocks[owner], min(end, reach[owner])):
                at = base[owner] + block
                if first_s[at] == np.inf:
                    first_s[at] = now_s
                elif block < prompt_blocks[row]:
                    hits += 1
                    if last_s[at] != seen_s:
                        seen_s = last_s[at]
                        bin_ = _bin(now_s - seen_s, histogram.shape[1])
                    histogram[category[row], bin_] += 1
                last_s[at] = now_s
            end = min(end, shared_blocks[owner])
            owner = prefix_request[owner]
    return hits, histogram, first_s, last_s


@njit(cache=True)
def _bin(time_s: float, bins: int) -> int:
    """0 up to `LEAST_S`, then `BINS_PER_DECADE` for a factor of 10; the last bin has all the rest."""
    if time_s <= LEAST_S:
        return 0
    return min(int(np.ceil(np.log10(time_s / LEAST_S) * BINS_PER_DECADE)), bins - 1)
