"""Inter-token latencies: an exact count per log-spaced bin."""

import numpy as np

from .jit import compiled, inlined
from .steptime import jump_ps

BINS_PER_FACTOR = 1.01  # each bin is 1 % wide
FIRST_EDGE_PS = 1_000_000  # 1 microsecond; below lies one bin of its own
LAST_EDGE_PS = 10**17  # 10^5 s; above lies one bin of its own


def itl_edges_ps() -> np.ndarray:
    """Bin edges, int64: bin b counts gaps in [edge[b], edge[b + 1])."""
    count = int(np.ceil(np.log(LAST_EDGE_PS / FIRST_EDGE_PS) / np.log(BINS_PER_FACTOR))) + 1
    inner = np.round(FIRST_EDGE_PS * BINS_PER_FACTOR ** np.arange(count)).astype(np.int64)
    return np.concatenate(([0], inner, [np.iinfo(np.int64).max]))


@inlined
def _bin_of(edges, gap_ps):
    low, high = 0, len(edges) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if edges[middle] <= gap_ps:
            low = middle
        else:
            high = middle
    return low


@inlined
def record_gap(sim, gap_ps):
    sim.itl_counts[_bin_of(sim.itl_edges_ps, gap_ps)] += 1


@compiled
def record_jump(sim, i, iterations):
    """Count the gaps of the first ``iterations`` iterations of instance ``i``'s jump, one a decode request and
    iteration.
    """
    inst = sim.inst[i]
    edges = sim.itl_edges_ps
    inst.busy_ps += jump_ps(inst.step_ps, inst.slope_ps, iterations)
    if inst.decoding == 0 or iterations == 0:
        return
    at = _bin_of(edges, inst.step_ps)
    done = 0
    while done < iterations:
        upto = iterations  # iteration j takes step + j slope: those with j < upto fall in this bin
        if inst.slope_ps > 0:
            upto = min(upto, (edges[at + 1] - inst.step_ps + inst.slope_ps - 1) // inst.slope_ps)
        if upto > done:
            sim.itl_counts[at] += (upto - done) * inst.decoding
            done = upto
        at += 1
