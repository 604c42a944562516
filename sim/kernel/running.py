"""Scheduling the running requests of an instance, preempting the newest while blocks are short."""

from .admission import blocks_for, preempt_newest, schedule_chunk, wanted
from .decode import growth, park, return_from_parking
from .jit import compiled, inlined
from .kvcache import cache_blocks, grows_alone
from .lru import free_blocks, take_blocks
from .state import DECODE, NONE, PARKED, PREFILL, WAITING


@inlined
def prefills_are_newest(sim, i):
    """Whether nobody in prefill was admitted before anybody in the decode batch."""
    inst = sim.inst[i]
    return inst.prefilling == 0 or sim.req[inst.prefill_head].admission > inst.newest_decode


@compiled
def schedule_at_once(sim, i):
    """Schedule the decode batch, then those in prefill, if nobody has to be preempted; return the budget left, or -1
    if it takes `schedule_one_by_one`.

    The batch takes one token each and its blocks in one go.
    """
    inst = sim.inst[i]
    if inst.entangled > 0 or inst.parked > 0:
        return -1
    needed = growth(sim, i, inst.iteration, 1)
    batch_blocks = needed
    budget = max(0, sim.group[inst.group].max_tokens - inst.decoding)
    left = budget
    r = inst.prefill_head
    while r != NONE:
        computed = sim.req[r].computed
        tokens = wanted(sim, r, computed, left)
        needed += blocks_for(sim, computed + tokens) - blocks_for(sim, computed)
        left -= tokens
        r = sim.req[r].prefill_next
    if needed > free_blocks(sim, i):
        return -1
    take_blocks(sim, i, batch_blocks)
    inst.grown = 1
    r = inst.prefill_head
    while r != NONE and budget > 0:
        tokens = wanted(sim, r, sim.req[r].computed, budget)
        schedule_chunk(sim, i, r, tokens)
        budget -= tokens
        r = sim.req[r].prefill_next
    return budget


@compiled
def schedule_one_by_one(sim, i, budget, decodes, prefills):
    """Schedule the running requests that are in decode or in prefill, whichever is asked for, in admission order;
    return the budget left, or -1 if somebody had to preempt itself.

    A decode request that gets no token is parked: out of the batch until a step schedules it again.
    """
    inst = sim.inst[i]
    r = inst.run_head
    unscheduled = NONE
    while r != NONE and budget > 0:
        req = sim.req[r]
        if not (prefills if req.state == PREFILL else decodes):
            r = req.run_next
            unscheduled = r
            continue
        computed, tokens = req.computed, 1
        if req.state == DECODE:
            computed = req.anchor + inst.iteration
        elif req.state == PREFILL:
            tokens = wanted(sim, r, computed, budget)
        needed = blocks_for(sim, computed + tokens) - blocks_for(sim, computed)
        while needed > free_blocks(sim, i) and req.state != WAITING:
            budget += preempt_newest(sim, i)
        unscheduled = req.run_next
        if req.state == WAITING:  # it was the newest itself
            budget = -1
            break
        if req.state == PREFILL:
            schedule_chunk(sim, i, r, tokens)
        else:
            take_blocks(sim, i, needed)
            if req.state == PARKED:
                return_from_parking(sim, i, r)
            req.chunk = 1
            req.mark = inst.steps
            if req.entangled:
                _grow_entangled(sim, i, r, computed + 1)
        budget -= tokens
        r = unscheduled
    _park_unscheduled(sim, i, unscheduled)
    return budget


@compiled
def _park_unscheduled(sim, i, r):
    """Those from ``r`` on in the running list that are in decode and have got no token leave the batch."""
    while r != NONE:
        if sim.req[r].state == DECODE and sim.req[r].mark != sim.inst[i].steps:
            park(sim, i, r)
        r = sim.req[r].run_next


@compiled
def _grow_entangled(sim, i, r, computed):
    """A decode request whose blocks concern others computed another token; see whether it grows alone from here."""
    cache_blocks(sim, i, r, computed // sim.cluster[0].block_size)
    if grows_alone(sim, i, r, computed):
        sim.req[r].entangled = 0
        sim.inst[i].entangled -= 1


@compiled
def schedule_in_order(sim, i):
    """Schedule all running requests in admission order; return the budget left, which means nothing after a
    preemption.
    """
    budget = schedule_at_once(sim, i) if prefills_are_newest(sim, i) else -1
    if budget < 0:
        budget = schedule_one_by_one(sim, i, sim.group[sim.inst[i].group].max_tokens, True, True)
        sim.inst[i].grown = 1
    return budget
