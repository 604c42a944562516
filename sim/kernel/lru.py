"""Blocks that nobody uses: blank ones, and idle cached ones in the order in which they will be forgotten.

Under LRU, idle blocks stand in a line (line.py) in the order of their last use. It needs neither a heap nor a look at
what continues a block, so it is kept apart from the other policies (eviction.py).
"""

from .eviction import await_eviction, claim, forget
from .indirect import call_evict
from .jit import compiled, inlined
from .line import claim_from_line, cut_oldest, gpu_line, join_line
from .state import LRU
from .tiers import leave_gpu


@inlined
def fall_idle(sim, s, low, high):
    """Blocks [low, high) of a slot fall idle."""
    sim.inst[sim.slot[s].instance].idle += high - low
    if sim.cluster[0].eviction == LRU:
        slot = sim.slot[s]
        slot.piece = join_line(sim, gpu_line(slot.instance), s, low, high, slot.piece)
    else:
        await_eviction(sim, s)


@compiled
def claim_idle(sim, s, blocks):
    """The idle ones among a slot's first ``blocks`` blocks are about to be used; return how many."""
    if sim.cluster[0].eviction != LRU:
        return claim(sim, s, blocks)
    slot = sim.slot[s]
    claimed, slot.piece = claim_from_line(sim, gpu_line(slot.instance), slot.piece, blocks)
    sim.inst[slot.instance].idle -= claimed
    return claimed


@compiled
def evict(sim, i, blocks):
    """The ``blocks`` idle blocks that go first lose their content: the front of the LRU order, tails first. Returns how
    many did. Called by its address.
    """
    inst = sim.inst[i]
    inst.idle -= blocks
    inst.evicted += blocks
    if sim.cluster[0].eviction != LRU:
        forget(sim, i, blocks)
        return blocks
    at, left = gpu_line(i), blocks
    while left > 0:
        s = sim.piece[sim.line[at].oldest].slot
        slot = sim.slot[s]
        taken, slot.piece = cut_oldest(sim, at, slot.piece, left)
        left -= taken
        leave_gpu(sim, s, slot.resident - taken)
    return blocks


@inlined
def free_blocks(sim, i):
    return sim.inst[i].blank + sim.inst[i].idle


@inlined
def take_blocks(sim, i, blocks):
    """Hand out blocks (no more than are free): blank ones first, then the idle ones that go first."""
    inst = sim.inst[i]
    if blocks <= inst.blank:
        inst.blank -= blocks
    else:
        evicted = blocks - inst.blank
        inst.blank = 0
        call_evict(sim.cluster[0].evict, sim, i, evicted)
