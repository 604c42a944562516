"""What lies below the caches on the GPUs: host memory beside each instance, and a pool for all of them.

Of a path, what an instance has in host memory continues what it has on the GPU: a slot's ``stored`` blocks come after
its ``resident`` ones. The pool holds a segment as a slot of the instance POOL, all of it ``stored``. A block is
forgotten from the front of its tier's line (line.py).
"""

from .jit import compiled, inlined
from .line import POOL_LINE, claim_from_line, cut_oldest, host_line, join_line
from .slots import free_slot, new_slot, set_resident, set_stored
from .state import NONE, POOL


@compiled
def _forget_oldest(sim, at):
    """Forget what a tier holds beyond its capacity."""
    line = sim.line[at]
    while line.blocks > line.capacity:
        s = sim.piece[line.oldest].slot
        slot = sim.slot[s]
        taken, slot.stored_piece = cut_oldest(sim, at, slot.stored_piece, line.blocks - line.capacity)
        line.blocks -= taken
        set_stored(sim, s, slot.stored - taken)
        if slot.resident + slot.stored == 0:
            free_slot(sim, s)


# --- host memory ------------------------------------------------------------------------------------------------------


@compiled
def leave_gpu(sim, s, kept):
    """Slot ``s`` keeps its first ``kept`` blocks on the GPU; the others go to host memory, if there is any."""
    slot = sim.slot[s]
    at = host_line(slot.instance)
    line = sim.line[at]
    if line.capacity > 0:
        blocks = slot.resident - kept
        line.written += blocks
        line.blocks += blocks
        slot.stored += blocks
        if slot.stored_piece != NONE and slot.stored_piece == line.newest:
            sim.piece[slot.stored_piece].low = kept
        else:
            slot.stored_piece = join_line(sim, at, s, kept, slot.resident, slot.stored_piece)
    set_resident(sim, s, kept)
    if kept + slot.stored == 0:
        free_slot(sim, s)
    if line.blocks > line.capacity:
        _forget_oldest(sim, at)


@compiled
def leave_host(sim, s, blocks):
    """The first ``blocks`` blocks of slot ``s`` are about to be on the GPU: copies in host memory are dropped."""
    slot = sim.slot[s]
    at = host_line(slot.instance)
    dropped, slot.stored_piece = claim_from_line(sim, at, slot.stored_piece, blocks)
    sim.line[at].blocks -= dropped
    slot.stored -= dropped


# --- the pool ---------------------------------------------------------------------------------------------------------


@compiled
def store(sim, r, full):
    """The first ``full`` blocks of request ``r``, or as many as the pool can hold, are its most recently used."""
    line = sim.line[POOL_LINE]
    full = min(full, line.capacity)
    x = r
    while x != NONE:
        seg = sim.seg[x]
        blocks = min(full, seg.end_block) - seg.first_block
        if blocks > 0:
            s = seg.pool_slot if seg.pool_slot != NONE else new_slot(sim, x, POOL, NONE)
            slot = sim.slot[s]
            known, chain = claim_from_line(sim, POOL_LINE, slot.stored_piece, blocks)
            slot.stored_piece = join_line(sim, POOL_LINE, s, 0, blocks, chain)
            slot.stored = max(slot.stored, blocks)
            line.blocks += blocks - known
            line.written += blocks - known
        x = seg.parent
    _forget_oldest(sim, POOL_LINE)


@inlined
def there_is_a_pool(sim):
    return sim.line[POOL_LINE].capacity > 0


@compiled
def pooled_blocks(sim, r, known):
    """How many leading blocks of request ``r`` the pool holds that a look-up may find."""
    limit = (known - 1) // sim.cluster[0].block_size
    x = r
    while x != NONE:
        seg = sim.seg[x]
        if seg.pool_slot != NONE and seg.first_block < limit:
            return min(seg.first_block + sim.slot[seg.pool_slot].stored, limit)
        x = seg.parent
    return 0
