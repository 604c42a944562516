"""What an instance caches of a segment: a *slot*, found through the segment's vector of holders.

A segment that more than one request can pass through lists the instances that hold it, in a vector that doubles through
size classes; so the hits of a request on all instances are read off contiguous memory. A private tail has one slot at
most, known to its request.
"""

from .jit import compiled, inlined
from .state import NONE, POOL


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


@compiled
def new_slot(sim, x, i, parent):
    cluster = sim.cluster[0]
    s = cluster.free_slot
    slot = sim.slot[s]
    cluster.free_slot = slot.place
    cluster.used_slots += 1
    slot.segment = x
    slot.instance = i
    slot.parent = parent
    slot.resident = 0
    slot.stored = 0
    slot.in_use = 0
    slot.busy = 0
    slot.partial = 0
    slot.piece = NONE
    slot.stored_piece = NONE
    slot.children = 0
    slot.waiting = NONE
    if i == POOL:
        sim.seg[x].pool_slot = s
    elif sim.seg[x].shared:
        _add_holder(sim, x, i, s)
    else:
        sim.req[x].tail_slot = s
    return s


@compiled
def free_slot(sim, s):
    cluster, slot = sim.cluster[0], sim.slot[s]
    if slot.instance == POOL:
        sim.seg[slot.segment].pool_slot = NONE
    elif sim.seg[slot.segment].shared:
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
def _note_held(sim, s):
    slot = sim.slot[s]
    if sim.seg[slot.segment].shared:
        sim.holder[sim.seg[slot.segment].holders + slot.place].resident = slot.resident + slot.stored


@compiled
def set_resident(sim, s, blocks):
    slot = sim.slot[s]
    if slot.parent != NONE and (slot.resident == 0) != (blocks == 0):
        sim.slot[slot.parent].children += 1 if blocks > 0 else -1
    slot.resident = blocks
    _note_held(sim, s)


@inlined
def set_stored(sim, s, blocks):
    sim.slot[s].stored = blocks
    if sim.slot[s].instance != POOL:
        _note_held(sim, s)


@inlined
def whole_blocks(sim, s):
    seg = sim.seg[sim.slot[s].segment]
    return seg.end_block - seg.first_block


@inlined
def new_piece(sim, s, low, high):
    """Blocks [low, high) of slot ``s`` as a piece (the slot's chain is the caller's)."""
    cluster = sim.cluster[0]
    p = cluster.free_piece
    piece = sim.piece[p]
    cluster.free_piece = piece.deeper
    cluster.used_pieces += 1
    piece.slot = s
    piece.low = low
    piece.high = high
    return p


@inlined
def drop_piece(sim, p):
    cluster = sim.cluster[0]
    sim.piece[p].deeper = cluster.free_piece
    cluster.free_piece = p
    cluster.used_pieces -= 1
