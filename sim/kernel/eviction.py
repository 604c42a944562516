"""Which idle blocks go first, under policies other than LRU (docs/engine-rules.md, Eviction).

Here a slot's *pieces* cover its leading blocks that some request has freed, idle or not: ranges with the same uses.
The deepest piece of a slot that no cached slot continues waits in a queue of the instance (see leaves.py).
"""

from .jit import compiled, inlined
from .leaves import join, leave
from .line import without_deepest
from .reuse import learn, reuse_chance, take_stock
from .slots import drop_piece, new_piece, whole_blocks
from .state import DONE, FIFO, GDSF, LFU, NONE, WORKLOAD_AWARE
from .tiers import leave_gpu

# --- uses -------------------------------------------------------------------------------------------------------------


@compiled
def end_use(sim, i, r, s, blocks):
    """Request ``r`` is about to free the first ``blocks`` blocks of slot ``s`` and all of the slots above."""
    inst = sim.inst[i]
    inst.frees += 1
    while s != NONE:
        _note_use(sim, i, r, s, blocks)
        s = sim.slot[s].parent
        if s != NONE:
            blocks = whole_blocks(sim, s)
    if sim.cluster[0].eviction == WORKLOAD_AWARE:
        if sim.req[r].state == DONE:
            learn(sim, r)
        take_stock(sim, i)


@compiled
def _note_use(sim, i, r, s, blocks):
    """Stamp the pieces of the first ``blocks`` blocks of slot ``s``, of which the last ones may have none yet."""
    above, p, covered = NONE, sim.slot[s].piece, 0
    while p != NONE and covered < blocks:
        if sim.piece[p].high > blocks:
            p = _split(sim, s, above, p, blocks)
        _stamp(sim, i, r, p)
        covered = sim.piece[p].high
        above, p = p, sim.piece[p].deeper
    if covered < blocks:
        p = _insert(sim, s, above, covered, blocks)
        rank = sim.rank[p]
        rank.uses = 0
        rank.score = 0
        rank.queue = 0
        _stamp(sim, i, r, p)
        sim.inst[i].round_blocks += blocks - covered


@inlined
def _insert(sim, s, above, low, high):
    """A new piece [low, high) of slot ``s``, after piece ``above`` (NONE: the first)."""
    p = new_piece(sim, s, low, high)
    if above == NONE:
        sim.piece[p].deeper = sim.slot[s].piece
        sim.slot[s].piece = p
    else:
        sim.piece[p].deeper = sim.piece[above].deeper
        sim.piece[above].deeper = p
    return p


@inlined
def _split(sim, s, above, p, at):
    """Split piece ``p``, which comes after ``above``, at block ``at``; return the new, upper part.

    The lower part may wait in a queue, where nothing changes.
    """
    upper = _insert(sim, s, above, sim.piece[p].low, at)
    sim.piece[p].low = at
    sim.rank[upper].uses = sim.rank[p].uses
    sim.rank[upper].score = sim.rank[p].score
    sim.rank[upper].queue = sim.rank[p].queue
    return upper


@inlined
def _stamp(sim, i, r, p):
    """Request ``r`` used piece ``p``, which does not wait: its new place among those that do."""
    inst, rank, policy = sim.inst[i], sim.rank[p], sim.cluster[0].eviction
    rank.uses += 1
    rank.stamp = inst.frees
    rank.used = sim.cluster[0].clock
    if policy == LFU:
        rank.score = rank.uses
    elif policy == GDSF:
        rank.score = inst.last_score + rank.uses
    elif policy == WORKLOAD_AWARE:
        rank.queue = sim.reuse_class[r]
    elif policy == FIFO and rank.uses == 1:
        rank.score = inst.frees


# --- idle blocks ------------------------------------------------------------------------------------------------------


@compiled
def await_eviction(sim, s):
    """Slot ``s`` has idle blocks: its deepest piece waits, unless it does so already or a cached slot continues it."""
    slot = sim.slot[s]
    if slot.waiting != NONE or slot.children > 0:
        return
    p = slot.piece
    while sim.piece[p].deeper != NONE:
        p = sim.piece[p].deeper
    slot.waiting = p
    join(sim, slot.instance, p)


@inlined
def _stop_waiting(sim, s):
    slot = sim.slot[s]
    leave(sim, slot.instance, slot.waiting)
    slot.waiting = NONE


@compiled
def claim(sim, s, blocks):
    """The idle ones among a slot's first ``blocks`` blocks are about to be used; return how many."""
    slot = sim.slot[s]
    claimed = max(0, min(blocks, slot.resident) - slot.in_use)
    sim.inst[slot.instance].idle -= claimed
    if blocks >= slot.resident and slot.waiting != NONE:
        _stop_waiting(sim, s)
    return claimed


@compiled
def _victim(sim, i):
    """The piece to go next."""
    if sim.cluster[0].eviction != WORKLOAD_AWARE:
        return sim.queue[i, 0].root
    victim, lowest = NONE, 2.0  # above any probability
    for q in range(len(sim.law)):
        p = sim.queue[i, q].root
        if p == NONE:
            continue
        chance = reuse_chance(sim, i, q, sim.rank[p].used)
        if chance < lowest or (chance == lowest and sim.rank[p].stamp < sim.rank[victim].stamp):
            victim, lowest = p, chance
    return victim


@compiled
def forget(sim, i, blocks):
    """Forget the content of the ``blocks`` idle blocks that go first."""
    inst = sim.inst[i]
    while blocks > 0:
        p = _victim(sim, i)
        piece = sim.piece[p]
        slot = sim.slot[piece.slot]
        inst.last_score = sim.rank[p].score
        kept = max(piece.low, slot.in_use, piece.high - blocks)
        blocks -= piece.high - kept
        piece.high = kept
        if kept == piece.low or kept == slot.in_use:
            _piece_is_done(sim, p)
        else:
            leave_gpu(sim, piece.slot, kept)


@compiled
def _piece_is_done(sim, p):
    """Piece ``p`` has no idle block left: what lies above it waits next, if it is idle."""
    s, kept = sim.piece[p].slot, sim.piece[p].high
    slot = sim.slot[s]
    above = slot.parent
    _stop_waiting(sim, s)
    if kept == sim.piece[p].low:
        slot.piece = without_deepest(sim, slot.piece, p)
        drop_piece(sim, p)
    leave_gpu(sim, s, kept)
    if kept == 0:
        s = above
    if s != NONE and sim.slot[s].in_use < sim.slot[s].resident:
        await_eviction(sim, s)


@inlined
def forget_order(sim, i):
    """Instance ``i`` lost all its blocks."""
    inst = sim.inst[i]
    inst.last_score = 0
    inst.round_start = NONE
    inst.round_blocks = 0
    inst.last_round = 0
    for q in range(sim.queue.shape[1]):
        sim.queue[i, q].root = NONE
