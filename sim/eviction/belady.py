"""Belady's optimum ("A study of replacement algorithms for a virtual-storage computer", 1966)."""

from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .blocks import BlockTrace
from .cache import Setup, queues_only
from .registry import policy


def _look_ahead(trace: BlockTrace, profile: Path | None) -> Setup:
    return queues_only(1)._replace(next_use=_next_uses(trace.order, trace.offsets, trace.blocks, len(trace.parent)))


@njit(cache=True)
def _next_uses(
    order: NDArray[np.int64], offsets: NDArray[np.int64], blocks: NDArray[np.int32], different: int
) -> NDArray[np.int32]:
    """Of each of N references, the position in `order` of the next request with that block; len(order) for none."""
    next_use = np.empty(len(blocks), np.int32)
    upcoming = np.full(different, len(order), np.int32)
    for position in range(len(order) - 1, -1, -1):
        row = order[position]
        for i in range(offsets[row], offsets[row + 1]):
            next_use[i] = upcoming[blocks[i]]
            upcoming[blocks[i]] = position
    return next_use


@policy("belady", prepare=_look_ahead)
def _belady(cache, b):
    """the block whose next use is furthest ahead

    No policy hits more, but it must know the future: only a replay has it.

    A block is used whenever one that continues it is, so none that continues it is used sooner.

    Source: L. Belady, A study of replacement algorithms for a virtual-storage computer, 1966.
    """
    cache.score[b] = -cache.next_use[cache.now[0].reference]
    return 0
