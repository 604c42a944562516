"""What is recorded of each jump: its iterations, and inter-token latencies as an exact count per class of requests and
log-spaced bin.

The instances count the decode requests of each class as they come and go, so a jump costs as many additions as there
are classes. With one class, which all requests have then, they need not.
"""

import numpy as np

from .jit import compiled, inlined
from .state import DECODE, NONE
from .steptime import jump_ps

BINS_PER_FACTOR = 1.01  # each bin is 1 % wide
FIRST_EDGE_PS = 1_000_000  # 1 microsecond; below lies one bin of its own
LAST_EDGE_PS = 10**17  # 10^5 s; above lies one bin of its own


def itl_edges_ps() -> np.ndarray:
    """Bin edges, int64: bin b counts gaps in [edge[b], edge[b + 1])."""
    count = int(np.ceil(np.log(LAST_EDGE_PS / FIRST_EDGE_PS) / np.log(BINS_PER_FACTOR))) + 1
    inner = np.round(FIRST_EDGE_PS * BINS_PER_FACTOR ** np.arange(count)).astype(np.int64)
    return np.concatenate(([0], inner, [np.iinfo(np.int64).max]))


@compiled
def _bin_of(sim, gap_ps):
    edges = sim.itl_edges_ps
    low, high = 0, len(edges) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if edges[middle] <= gap_ps:
            low = middle
        else:
            high = middle
    return low


@compiled
def count_decoding(sim, i, r, change):
    """Request ``r`` joins (1) or leaves (-1) the decode batch of instance ``i``."""
    if len(sim.itl_counts) > 1:
        sim.decoding_of[i, sim.itl_class[r]] += change


@inlined
def class_on_arrival(sim, r):
    """Follow-up ``r`` knows its time of arrival now: those of the warm-up have a class of their own, the last."""
    if sim.req[r].arrival < sim.cluster[0].warm_up:
        sim.itl_class[r] = len(sim.itl_counts) - 1


@inlined
def end_gap(sim, r):
    """Request ``r``, which had left the decode batch, gets its next token now."""
    at = _bin_of(sim, sim.cluster[0].clock - sim.req[r].last_token)
    sim.itl_counts[sim.itl_class[r], at] += 1
    sim.req[r].last_token = NONE


@compiled
def end_gaps_of_returned(sim, i):
    """The same for those that were parked and came back in this step, which `record_jump` counts as the gap of all."""
    r = sim.inst[i].run_head if sim.inst[i].returned else NONE
    while r != NONE:
        if sim.req[r].state == DECODE and sim.req[r].last_token != NONE:
            end_gap(sim, r)
            sim.itl_counts[sim.itl_class[r], _bin_of(sim, sim.inst[i].step_ps)] -= 1
        r = sim.req[r].run_next
    sim.inst[i].returned = 0


@compiled
def record_jump(sim, i, iterations):
    """Note the first ``iterations`` of instance ``i``'s jump: what was in them, busy time, and a gap each for the
    requests in decode.
    """
    inst = sim.inst[i]
    edges = sim.itl_edges_ps
    inst.busy_ps += jump_ps(inst.step_ps, inst.slope_ps, iterations)
    decodes = 0 if inst.paused else inst.decoding
    if inst.step_chunks == 0:
        inst.decode_only += iterations
    elif decodes == 0:
        inst.prefill_only += iterations
    else:
        inst.mixed += iterations
    inst.prefill_tokens += iterations * inst.step_prefill
    inst.decode_tokens += iterations * decodes
    inst.tokens += iterations * decodes
    if decodes == 0 or iterations == 0:
        return
    at = _bin_of(sim, inst.step_ps)
    done = 0
    while done < iterations:
        upto = iterations  # iteration j takes step + j slope: those with j < upto fall in this bin
        if inst.slope_ps > 0:
            upto = min(upto, (edges[at + 1] - inst.step_ps + inst.slope_ps - 1) // inst.slope_ps)
        if upto > done:
            if len(sim.itl_counts) == 1:
                sim.itl_counts[0, at] += (upto - done) * decodes
            else:
                for c in range(len(sim.itl_counts)):
                    sim.itl_counts[c, at] += (upto - done) * sim.decoding_of[i, c]
            done = upto
        at += 1
