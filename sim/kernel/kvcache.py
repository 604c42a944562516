"""KV blocks of an instance: who uses which.

Blocks are counted, never listed. Of a slot's leading ``resident`` blocks the first ``in_use`` belong to running
requests and the rest are idle; what is in host memory follows them (tiers.py). Residency is closed (whatever is cached,
all before it is), so a running request need only be counted at the deepest slot it uses, and a slot in use counts once
at its parent.

A decoding request's blocks grow into its own tail. While nobody else can see that tail, no slot exists for it
(``in_tail``): the slot is made when the blocks are freed.
"""

from .eviction import end_use, forget_order
from .jit import compiled, inlined
from .line import empty_line, gpu_line, host_line
from .lru import claim_idle, fall_idle
from .prefix import segment_below
from .slots import drop_piece, find_slot, free_slot, new_slot, set_resident, whole_blocks
from .state import DECODE, LRU, NONE, TAIL_LIVE
from .tiers import leave_host, store, there_is_a_pool


@compiled
def _keep_whole(sim, s):
    """One more user (a child slot or a request) of all of slot ``s``, and so of everything above it."""
    while s != NONE:
        slot = sim.slot[s]
        slot.busy += 1
        if slot.busy > 1:
            return
        was = slot.in_use
        whole = whole_blocks(sim, s)
        claim_idle(sim, s, whole)
        slot.in_use = whole
        if was > 0:
            return
        s = slot.parent


@inlined
def _longest_extent(sim, s):
    """How much of slot ``s`` is used by requests that use a part of it."""
    longest = 0
    if sim.slot[s].partial > 0:
        r = sim.inst[sim.slot[s].instance].run_head
        while r != NONE:
            if sim.req[r].slot == s:
                longest = max(longest, sim.req[r].extent)
            r = sim.req[r].run_next
    return longest


@compiled
def _leave(sim, s, whole):
    """A user of slot ``s`` is gone: release what nobody else uses, from here upwards."""
    while s != NONE:
        slot = sim.slot[s]
        if whole:
            slot.busy -= 1
        else:
            slot.partial -= 1
        if slot.busy > 0:
            return
        kept = _longest_extent(sim, s)
        if kept < slot.in_use:
            fall_idle(sim, s, kept, slot.in_use)
            slot.in_use = kept
        if kept > 0:
            return
        s = slot.parent
        whole = True


@compiled
def use_blocks(sim, s, r, blocks):
    """Request ``r`` uses the first ``blocks`` blocks of slot ``s`` from now on; return how many of them were idle."""
    slot, req = sim.slot[s], sim.req[r]
    before = req.extent
    claimed = 0
    if blocks > slot.in_use:
        was = slot.in_use
        claimed = claim_idle(sim, s, blocks)
        slot.in_use = blocks
        if blocks > slot.resident:
            if slot.stored > 0:
                leave_host(sim, s, blocks)
            set_resident(sim, s, blocks)
        if was == 0:
            _keep_whole(sim, slot.parent)
    req.extent = blocks
    if blocks == whole_blocks(sim, s):
        slot.busy += 1
        if before > 0:
            slot.partial -= 1
    elif before == 0:
        slot.partial += 1
    return claimed


@compiled
def _advance(sim, i, r, x, full):
    """Cache request ``r``'s blocks up to path block ``full`` within segment ``x``, the one it is in or the next
    below it.
    """
    req = sim.req[r]
    above = req.slot
    entered = above == NONE or sim.slot[above].segment != x
    if entered:
        child = find_slot(sim, i, x)
        req.slot = child if child != NONE else new_slot(sim, x, i, above)
        req.extent = 0
    blocks = min(full, sim.seg[x].end_block) - sim.seg[x].first_block
    duplicates = min(blocks, sim.slot[req.slot].in_use) - req.extent
    if duplicates > 0:
        req.private += duplicates
    sim.inst[i].blank += use_blocks(sim, req.slot, r, blocks)  # idle copies of what it computed are blank now
    if entered and above != NONE:
        _leave(sim, above, True)


@inlined
def _blocks_covered(sim, r):
    """Path blocks up to which request ``r`` is entered in the slots."""
    s = sim.req[r].slot
    return 0 if s == NONE else sim.seg[sim.slot[s].segment].first_block + sim.req[r].extent


@inlined
def computed_tokens(sim, r):
    """Tokens of a decode request whose KV exists, the iteration in flight included."""
    inst, req = sim.inst[sim.req[r].instance], sim.req[r]
    scheduled = 1 if req.mark == inst.steps else 0  # by the step being put together
    return req.anchor + inst.iteration + max(inst.grown, scheduled)


@inlined
def grows_unseen(sim, i, x):
    """Whether segment ``x`` is the live tail of a request that decodes on instance ``i`` and lets its slot fall
    behind.
    """
    if x >= len(sim.req):
        return False
    req = sim.req[x]
    return req.tail_kind == TAIL_LIVE and req.state == DECODE and req.instance == i and req.entangled == 0


@inlined
def watch_tail(sim, i, x):
    """Somebody else is about to use the live tail ``x``: bring its slot up to date, and keep it so from now on."""
    full = computed_tokens(sim, x) // sim.cluster[0].block_size
    if _blocks_covered(sim, x) < full:
        _advance(sim, i, x, x, full)
    sim.req[x].entangled = 1
    sim.inst[i].entangled += 1


@compiled
def cache_blocks(sim, i, r, full):
    """The first ``full`` blocks of request ``r`` are full: their content enters the cache."""
    req = sim.req[r]
    if sim.cluster[0].caching == 0:
        return
    while req.in_tail == 0:
        covered = _blocks_covered(sim, r)
        if covered >= full:
            return
        x = NONE if req.slot == NONE else sim.slot[req.slot].segment
        if x == NONE or covered == sim.seg[x].end_block:
            x = segment_below(sim, r, x)
            if x == r:
                if req.tail_kind != TAIL_LIVE and find_slot(sim, i, r) == NONE:
                    req.in_tail = 1
                    return
            elif grows_unseen(sim, i, x):
                watch_tail(sim, i, x)
        _advance(sim, i, r, x, full)


@compiled
def grows_alone(sim, i, r, computed):
    """Whether a decode request's further blocks concern nobody else, so that they may be counted without touching
    the cache.
    """
    req = sim.req[r]
    if sim.cluster[0].caching == 0 or req.in_tail == 1:
        return True
    if computed // sim.cluster[0].block_size < sim.seg[r].first_block:
        return False
    s = req.slot
    if s != NONE and sim.slot[s].segment == r:
        slot = sim.slot[s]
        return slot.resident + slot.stored == req.extent and slot.busy + slot.partial == 1
    return find_slot(sim, i, r) == NONE


@compiled
def free_request(sim, i, r, computed):
    """Request ``r`` gives up all blocks of its ``computed`` tokens, the last first."""
    cluster, req, inst = sim.cluster[0], sim.req[r], sim.inst[i]
    full = computed // cluster.block_size
    held = (computed + cluster.block_size - 1) // cluster.block_size
    if cluster.caching == 0:
        inst.blank += held
        return
    if there_is_a_pool(sim):
        store(sim, r, full)
    cache_blocks(sim, i, r, full)
    inst.blank += req.private + held - full
    s, extent = req.slot, req.extent
    req.private = 0
    req.slot = NONE
    req.extent = 0
    deepest, used = s, extent
    if req.in_tail == 1:
        req.in_tail = 0
        blocks = full - sim.seg[r].first_block
        if blocks > 0:
            deepest, used = new_slot(sim, r, i, s), blocks
            set_resident(sim, deepest, blocks)
    if cluster.eviction != LRU:
        end_use(sim, i, r, deepest, used)
    if deepest != s:
        fall_idle(sim, deepest, 0, used)
    if s != NONE:
        _leave(sim, s, extent == whole_blocks(sim, s))


@compiled
def forget_everything(sim, i):
    """Instance ``i`` failed: all its blocks are blank, and its host memory is lost."""
    inst = sim.inst[i]
    for s in range(len(sim.slot)):
        slot = sim.slot[s]
        if slot.segment != NONE and slot.instance == i:
            for chain in (slot.piece, slot.stored_piece):
                while chain != NONE:
                    p = chain
                    chain = sim.piece[p].deeper
                    drop_piece(sim, p)
            free_slot(sim, s)
    empty_line(sim, gpu_line(i))
    empty_line(sim, host_line(i))
    forget_order(sim, i)
    inst.idle = 0
    inst.blank = inst.usable
