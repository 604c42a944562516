"""Policies that prefill prompts whole and reserve what requests may become: Orca's, and static batches."""

from .admission import admit, admit_as_scheduled, blocks_for, stay_blocked
from .batching import batching
from .jit import compiled, inlined
from .kvcache import computed_tokens
from .lru import free_blocks
from .running import schedule_in_order
from .state import DECODE, NONE
from .waiting import known_tokens


@inlined
def _whole_blocks(sim, r):
    """Blocks of all tokens that a request ever computes."""
    return blocks_for(sim, sim.req[r].input + sim.req[r].output - 1)


@compiled
def _promised_blocks(sim, i):
    """Blocks that the running requests have yet to take."""
    promised = 0
    r = sim.inst[i].run_head
    while r != NONE:
        computed = computed_tokens(sim, r) if sim.req[r].state == DECODE else sim.req[r].computed
        promised += _whole_blocks(sim, r) - blocks_for(sim, computed)
        r = sim.req[r].run_next
    return promised


@compiled
def _grant_prompt(sim, r, hit_blocks, idle_hits, budget):
    """The whole prompt, if the budget holds it and there are blocks for everything that the request may become."""
    inst = sim.inst[sim.req[r].instance]
    tokens = known_tokens(sim, r) - hit_blocks * sim.cluster[0].block_size
    whole = _whole_blocks(sim, r)
    if tokens > budget or whole - hit_blocks + idle_hits + inst.promised > free_blocks(sim, sim.req[r].instance):
        return 0
    inst.promised += whole - blocks_for(sim, known_tokens(sim, r))
    return tokens


@batching("orca", _grant_prompt, whole_prompts=True)
def _orca(sim, i):
    """whole prompts beside decode requests, blocks reserved for all of their output (Orca)"""
    inst = sim.inst[i]
    preemptions = inst.preemptions
    budget = schedule_in_order(sim, i)
    if inst.preemptions > preemptions:
        return 0
    if inst.waiting > 0:
        inst.promised = _promised_blocks(sim, i)
    if admit_as_scheduled(sim, i, budget):
        return 0
    return 1 if stay_blocked(sim, i, True) else 0


@batching("static", _grant_prompt, whole_prompts=True)
def _static(sim, i):
    """a batch at a time: nobody is admitted before all of it have finished"""
    inst = sim.inst[i]
    if inst.running > 0:
        schedule_in_order(sim, i)
    else:
        inst.promised = 0
        admit(sim, i, sim.group[inst.group].max_tokens, sim.cluster[0].clock, 0)
    return 1
