"""What a request would hit on an instance: a walk from its tail up to the first segment that the instance holds."""

from .jit import compiled, inlined
from .kvcache import computed_tokens, grows_unseen, use_blocks, watch_tail
from .slots import find_slot, whole_blocks
from .state import NONE


@inlined
def may_hit(sim, r):
    """Whether any instance could hold something of request ``r``."""
    return sim.seg[r].parent != NONE or sim.seg[r].shared == 1 or sim.req[r].tail_slot != NONE


@compiled
def look_up(sim, i, r, known):
    """The hit of request ``r`` on instance ``i``: (blocks on the GPU or in host memory, blocks on the GPU, the deepest
    segment of those or NONE, how many of them are idle).
    """
    cluster = sim.cluster[0]
    limit = (known - 1) // cluster.block_size
    x = r
    while x != NONE:
        first = sim.seg[x].first_block
        if first < limit:
            if x != r and grows_unseen(sim, i, x):
                blocks = min(computed_tokens(sim, x) // cluster.block_size, limit) - first
                if blocks > 0:
                    return first + blocks, first + blocks, x, 0
            else:
                s = find_slot(sim, i, x)
                if s != NONE:
                    found = first + min(sim.slot[s].resident + sim.slot[s].stored, limit - first)
                    while sim.slot[s].resident == 0 and sim.slot[s].parent != NONE:
                        s = sim.slot[s].parent
                    x = sim.slot[s].segment
                    on_gpu = min(sim.seg[x].first_block + sim.slot[s].resident, limit)
                    idle = max(0, on_gpu - sim.seg[x].first_block - sim.slot[s].in_use)
                    while sim.slot[s].in_use == 0 and sim.slot[s].parent != NONE:
                        s = sim.slot[s].parent
                        idle += whole_blocks(sim, s) - sim.slot[s].in_use
                    return found, on_gpu, x, idle
        x = sim.seg[x].parent
    return 0, 0, NONE, 0


@compiled
def may_hit_growth(sim, i, r):
    """Whether the hit of request ``r`` may grow because a request that decodes on instance ``i`` fills a block of
    its path.
    """
    x = sim.seg[r].parent
    while x != NONE:
        if grows_unseen(sim, i, x):
            return True
        x = sim.seg[x].parent
    return False


@compiled
def take_hit(sim, i, r, x, blocks):
    """Request ``r`` takes the ``blocks`` path blocks found by `look_up`, the deepest of them in segment ``x``."""
    if x != r and grows_unseen(sim, i, x):
        watch_tail(sim, i, x)
    s = find_slot(sim, i, x)
    sim.req[r].slot = s
    use_blocks(sim, s, r, blocks - sim.seg[x].first_block)
