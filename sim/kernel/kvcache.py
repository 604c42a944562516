"""KV blocks of an instance: which are blank, which are cached, who uses them, and which goes next.

Blocks are counted, never listed. What an instance caches of a segment is one *slot*: its first ``resident`` blocks,
of which the first
``in_use`` belong to running requests and the rest are idle. Idle blocks hang in the LRU order in *pieces*, ranges
that were released together. Residency is closed (whatever is cached, all before it is), so

* a running request need only be counted at the deepest slot it uses; a slot in use counts once at its parent;
* the first slot found on the way up from a request's tail tells its whole hit.

A decoding request's blocks grow into its own tail. While nobody else can see that tail, no slot exists for it
(``in_tail``): the slot is made when the blocks are freed.
"""

from .jit import compiled, inlined
from .prefix import segment_below
from .state import DECODE, NONE, TAIL_LIVE

# --- slots, and the vectors of instances that hold a segment ----------------------------------------------------------


@compiled
def _add_holder(sim, x, i, s):
    """Append instance ``i`` to the holders of segment ``x``; vectors double through size classes."""
    cluster, seg, holder = sim.cluster[0], sim.seg[x], sim.holder
    count = seg.holder_count
    if seg.holder_class == NONE or count == 1 << seg.holder_class:
        size_class = seg.holder_class + 1
        at = sim.free_holders[size_class]
        if at != NONE:
            sim.free_holders[size_class] = holder[at].slot
        else:
            at = cluster.holders_end
            cluster.holders_end += 1 << size_class
            cluster.largest_class = max(cluster.largest_class, size_class)
        for k in range(count):
            holder[at + k].instance = holder[seg.holders + k].instance
            holder[at + k].resident = holder[seg.holders + k].resident
            holder[at + k].slot = holder[seg.holders + k].slot
        if count > 0:
            _free_holders(sim, seg.holders, seg.holder_class)
        seg.holders = at
        seg.holder_class = size_class
    holder[seg.holders + count].instance = i
    holder[seg.holders + count].resident = 0
    holder[seg.holders + count].slot = s
    sim.slot[s].place = count
    seg.holder_count = count + 1


@inlined
def _free_holders(sim, at, size_class):
    sim.holder[at].slot = sim.free_holders[size_class]
    sim.free_holders[size_class] = at


@compiled
def _remove_holder(sim, x, place):
    seg, holder = sim.seg[x], sim.holder
    seg.holder_count -= 1
    last = seg.holders + seg.holder_count
    at = seg.holders + place
    if at != last:
        holder[at].instance = holder[last].instance
        holder[at].resident = holder[last].resident
        holder[at].slot = holder[last].slot
        sim.slot[holder[at].slot].place = place
    if seg.holder_count == 0:
        _free_holders(sim, seg.holders, seg.holder_class)
        seg.holder_class = NONE


@inlined
def _new_slot(sim, x, i, parent):
    cluster = sim.cluster[0]
    s = cluster.free_slot
    slot = sim.slot[s]
    cluster.free_slot = slot.place
    cluster.used_slots += 1
    slot.segment = x
    slot.instance = i
    slot.parent = parent
    slot.resident = 0
    slot.in_use = 0
    slot.busy = 0
    slot.partial = 0
    slot.piece = NONE
    if sim.seg[x].shared:
        _add_holder(sim, x, i, s)
    else:
        sim.req[x].tail_slot = s
    return s


@inlined
def free_slot(sim, s):
    cluster, slot = sim.cluster[0], sim.slot[s]
    if sim.seg[slot.segment].shared:
        _remove_holder(sim, slot.segment, slot.place)
    else:
        sim.req[slot.segment].tail_slot = NONE
    slot.segment = NONE
    slot.place = cluster.free_slot
    cluster.free_slot = s
    cluster.used_slots -= 1


@inlined
def find_slot(sim, i, x):
    """The slot of segment ``x`` on instance ``i``, or NONE."""
    if not sim.seg[x].shared:
        return sim.req[x].tail_slot
    seg = sim.seg[x]
    for at in range(seg.holders, seg.holders + seg.holder_count):
        if sim.holder[at].instance == i:
            return sim.holder[at].slot
    return NONE


@inlined
def _set_resident(sim, s, blocks):
    slot = sim.slot[s]
    slot.resident = blocks
    if sim.seg[slot.segment].shared:
        sim.holder[sim.seg[slot.segment].holders + slot.place].resident = blocks


@inlined
def _whole(sim, s):
    seg = sim.seg[sim.slot[s].segment]
    return seg.end_block - seg.first_block


# --- the LRU order of idle pieces -------------------------------------------------------------------------------------


@inlined
def _release_piece(sim, s, low, high):
    """Blocks [low, high) of a slot fall idle: a new piece at the tail of the LRU order."""
    cluster, slot = sim.cluster[0], sim.slot[s]
    inst = sim.inst[slot.instance]
    p = cluster.free_piece
    piece = sim.piece[p]
    cluster.free_piece = piece.deeper
    cluster.used_pieces += 1
    piece.slot = s
    piece.low = low
    piece.high = high
    piece.deeper = slot.piece
    slot.piece = p
    piece.lru_next = NONE
    piece.lru_prev = inst.lru_tail
    if inst.lru_tail == NONE:
        inst.lru_head = p
    else:
        sim.piece[inst.lru_tail].lru_next = p
    inst.lru_tail = p
    inst.idle += high - low


@inlined
def _drop_piece(sim, i, p):
    """Take an empty piece out of the LRU order (its slot's chain is the caller's)."""
    cluster, inst, piece = sim.cluster[0], sim.inst[i], sim.piece[p]
    if piece.lru_prev == NONE:
        inst.lru_head = piece.lru_next
    else:
        sim.piece[piece.lru_prev].lru_next = piece.lru_next
    if piece.lru_next == NONE:
        inst.lru_tail = piece.lru_prev
    else:
        sim.piece[piece.lru_next].lru_prev = piece.lru_prev
    piece.deeper = cluster.free_piece
    cluster.free_piece = p
    cluster.used_pieces -= 1


@compiled
def _claim(sim, s, blocks):
    """Take the idle ones among a slot's first ``blocks`` blocks out of the LRU order; return how many."""
    slot = sim.slot[s]
    inst = sim.inst[slot.instance]
    claimed = 0
    while slot.piece != NONE:
        p = slot.piece
        piece = sim.piece[p]
        if piece.low >= blocks:
            break
        taken = min(piece.high, blocks) - piece.low
        piece.low += taken
        claimed += taken
        if piece.low < piece.high:
            break
        slot.piece = piece.deeper
        _drop_piece(sim, slot.instance, p)
    inst.idle -= claimed
    return claimed


@compiled
def _evict(sim, i, blocks):
    """Forget the content of the ``blocks`` idle blocks at the front of the LRU order, tails first."""
    inst = sim.inst[i]
    inst.idle -= blocks
    inst.evicted += blocks
    while blocks > 0:
        p = inst.lru_head
        piece = sim.piece[p]
        s = piece.slot
        slot = sim.slot[s]
        taken = min(blocks, piece.high - piece.low)
        blocks -= taken
        piece.high -= taken
        if piece.high > piece.low:
            _set_resident(sim, s, piece.high)
            return
        if slot.piece == p:
            slot.piece = NONE
        else:
            above = slot.piece
            while sim.piece[above].deeper != p:
                above = sim.piece[above].deeper
            sim.piece[above].deeper = NONE
        low = piece.low
        _drop_piece(sim, i, p)
        if low == 0:
            free_slot(sim, s)
        else:
            _set_resident(sim, s, low)


@inlined
def free_blocks(sim, i):
    return sim.inst[i].blank + sim.inst[i].idle


@inlined
def take_blocks(sim, i, blocks):
    """Hand out blocks (no more than are free): blank ones first, then the front of the LRU order."""
    inst = sim.inst[i]
    if blocks <= inst.blank:
        inst.blank -= blocks
    else:
        evicted = blocks - inst.blank
        inst.blank = 0
        _evict(sim, i, evicted)


# --- who uses what ----------------------------------------------------------------------------------------------------


@compiled
def _keep_whole(sim, s):
    """One more user (a child slot or a request) of all of slot ``s``, and so of everything above it."""
    while s != NONE:
        slot = sim.slot[s]
        slot.busy += 1
        if slot.busy > 1:
            return
        was = slot.in_use
        whole = _whole(sim, s)
        _claim(sim, s, whole)
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
            _release_piece(sim, s, kept, slot.in_use)
            slot.in_use = kept
        if kept > 0:
            return
        s = slot.parent
        whole = True


@compiled
def _use(sim, s, r, blocks):
    """Request ``r`` uses the first ``blocks`` blocks of slot ``s`` from now on; return how many of them were idle."""
    slot, req = sim.slot[s], sim.req[r]
    before = req.extent
    claimed = 0
    if blocks > slot.in_use:
        was = slot.in_use
        claimed = _claim(sim, s, blocks)
        slot.in_use = blocks
        if blocks > slot.resident:
            _set_resident(sim, s, blocks)
        if was == 0:
            _keep_whole(sim, slot.parent)
    req.extent = blocks
    if blocks == _whole(sim, s):
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
        req.slot = child if child != NONE else _new_slot(sim, x, i, above)
        req.extent = 0
    blocks = min(full, sim.seg[x].end_block) - sim.seg[x].first_block
    duplicates = min(blocks, sim.slot[req.slot].in_use) - req.extent
    if duplicates > 0:
        req.private += duplicates
    sim.inst[i].blank += _use(sim, req.slot, r, blocks)  # idle copies of what it computed are blank now
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
def _watch_tail(sim, i, x):
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
                _watch_tail(sim, i, x)
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
        return slot.resident == req.extent and slot.busy + slot.partial == 1
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
    cache_blocks(sim, i, r, full)
    inst.blank += req.private + held - full
    s, extent = req.slot, req.extent
    req.private = 0
    req.slot = NONE
    req.extent = 0
    if req.in_tail == 1:
        req.in_tail = 0
        blocks = full - sim.seg[r].first_block
        if blocks > 0:
            tail = _new_slot(sim, r, i, s)
            _set_resident(sim, tail, blocks)
            _release_piece(sim, tail, 0, blocks)
    if s != NONE:
        _leave(sim, s, extent == _whole(sim, s))


@inlined
def may_hit(sim, r):
    """Whether any instance could hold something of request ``r``."""
    return sim.seg[r].parent != NONE or sim.seg[r].shared == 1 or sim.req[r].tail_slot != NONE


# --- hits -------------------------------------------------------------------------------------------------------------


@compiled
def look_up(sim, i, r, known):
    """The hit of request ``r`` on instance ``i``: (hit blocks, deepest segment hit or NONE, how many of the blocks
    are idle).
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
                    return first + blocks, x, 0
            else:
                s = find_slot(sim, i, x)
                if s != NONE:
                    blocks = min(sim.slot[s].resident, limit - first)
                    idle = max(0, blocks - sim.slot[s].in_use)
                    while sim.slot[s].in_use == 0 and sim.slot[s].parent != NONE:
                        s = sim.slot[s].parent
                        idle += _whole(sim, s) - sim.slot[s].in_use
                    return first + blocks, x, idle
        x = sim.seg[x].parent
    return 0, NONE, 0


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
        _watch_tail(sim, i, x)
    s = find_slot(sim, i, x)
    sim.req[r].slot = s
    _use(sim, s, r, blocks - sim.seg[x].first_block)


@compiled
def forget_everything(sim, i):
    """Instance ``i`` failed: all its blocks are blank."""
    cluster, inst = sim.cluster[0], sim.inst[i]
    for s in range(len(sim.slot)):
        slot = sim.slot[s]
        if slot.segment != NONE and slot.instance == i:
            while slot.piece != NONE:
                p = slot.piece
                slot.piece = sim.piece[p].deeper
                sim.piece[p].deeper = cluster.free_piece
                cluster.free_piece = p
                cluster.used_pieces -= 1
            free_slot(sim, s)
    inst.lru_head = NONE
    inst.lru_tail = NONE
    inst.idle = 0
    inst.blank = inst.usable
