"""The decode batch of an instance: its totals, and jumps over many iterations at once.

While the batch does not change and none of its contexts outgrows a sliding window, iteration times form an arithmetic
series. The blocks it needs follow from how many requests stand where within their block: request with ``anchor`` a has
a + n computed tokens before iteration n, so it needs a block in the iterations n = -a modulo the block size.
"""

from .completions import next_completion, push_completion, remove_completion
from .events import set_event
from .jit import compiled, inlined
from .kvcache import cache_blocks, grows_alone
from .lru import free_blocks, take_blocks
from .record import count_decoding
from .state import DECODE, NONE, PARKED
from .steptime import iterations_until, jump_ps

LONGEST_JUMP = 1 << 16  # keeps every closed form far from the limits of int64


@inlined
def enter_decode(sim, i, r, computed, iteration):
    """Request ``r`` joins the batch with ``computed`` tokens, to be scheduled first in ``iteration``."""
    cluster, req, inst = sim.cluster[0], sim.req[r], sim.inst[i]
    req.state = DECODE
    req.anchor = computed - iteration
    inst.decoding += 1
    count_decoding(sim, i, r, 1)
    inst.decode_kv += computed
    inst.decode_prompt += req.input
    inst.newest_decode = max(inst.newest_decode, req.admission)
    sim.residue[i, req.anchor % cluster.block_size] += 1
    push_completion(sim, i, r, iteration + req.output - (computed + 1 - req.input))
    if not grows_alone(sim, i, r, computed):
        req.entangled = 1
        inst.entangled += 1


@inlined
def drop_from_totals(sim, i, r):
    """Take a decode request out of the batch's totals (not out of the completions)."""
    req, inst = sim.req[r], sim.inst[i]
    inst.decoding -= 1
    count_decoding(sim, i, r, -1)
    inst.decode_kv -= req.anchor + inst.iteration
    inst.decode_prompt -= req.input
    inst.entangled -= req.entangled
    req.entangled = 0
    sim.residue[i, req.anchor % sim.cluster[0].block_size] -= 1


@compiled
def leave_decode(sim, i, r):
    """Request ``r`` is about to be preempted or parked at the start of a step."""
    req = sim.req[r]
    drop_from_totals(sim, i, r)
    remove_completion(sim, i, r)
    req.computed = req.anchor + sim.inst[i].iteration
    req.generated = req.computed + 1 - req.input
    cache_blocks(sim, i, r, req.computed // sim.cluster[0].block_size)  # from here on nobody derives its blocks
    if req.last_token == NONE:  # else it came back from parking in this very step
        req.last_token = sim.cluster[0].clock


@inlined
def park(sim, i, r):
    """Request ``r`` gets no token in this step."""
    leave_decode(sim, i, r)
    sim.req[r].state = PARKED
    sim.inst[i].parked += 1
    sim.inst[i].parked_kv += sim.req[r].computed


@inlined
def return_from_parking(sim, i, r):
    inst = sim.inst[i]
    inst.parked -= 1
    inst.parked_kv -= sim.req[r].computed
    inst.returned = 1
    enter_decode(sim, i, r, sim.req[r].computed, inst.iteration)


@inlined
def growth(sim, i, first, iterations):
    """Blocks that the batch needs in ``iterations`` iterations from number ``first`` on."""
    size = sim.cluster[0].block_size
    blocks = iterations // size * sim.inst[i].decoding
    for n in range(first, first + iterations % size):
        blocks += sim.residue[i, -n % size]
    return blocks


@compiled
def plan_jump(sim, i):
    """How many iterations the batch can run as it is: to the first completion, or until the blocks run out."""
    inst = sim.inst[i]
    most = min(next_completion(sim, i) - inst.iteration, LONGEST_JUMP)
    free = free_blocks(sim, i)  # this iteration has its blocks already
    if growth(sim, i, inst.iteration + 1, most - 1) <= free:
        return most
    size = sim.cluster[0].block_size
    cycles = free // inst.decoding
    iterations = 1 + cycles * size
    free -= cycles * inst.decoding
    while True:
        free -= sim.residue[i, -(inst.iteration + iterations) % size]
        if free < 0:
            return iterations
        iterations += 1


@compiled
def window_kv(sim, i):
    """With a sliding window: the KV tokens in it that the batch reads in this iteration; how many of its requests read
    one more in the next; and for how many iterations times then form an arithmetic series.
    """
    inst, window = sim.inst[i], sim.group[sim.inst[i].group].window_tokens
    tokens, growing, steady = 0, 0, LONGEST_JUMP
    for at in range(inst.due):
        computed = sim.req[sim.heap[i, at].request].anchor + inst.iteration + 1
        tokens += min(computed, window)
        if computed < window:
            growing += 1
            steady = min(steady, window - computed + 1)  # the last of them is the first to read the whole window
    return tokens, growing, steady


@compiled
def grow_until(sim, i, iterations):
    """Give the first ``iterations`` iterations of the jump in flight their blocks."""
    inst = sim.inst[i]
    if iterations > inst.grown:
        take_blocks(sim, i, growth(sim, i, inst.iteration + inst.grown, iterations - inst.grown))
        inst.grown = iterations


@inlined
def started_iterations(sim, i):
    """Iterations of the jump in flight that started before now."""
    inst = sim.inst[i]
    if inst.planned <= 1:
        return inst.planned
    return iterations_until(inst.step_ps, inst.slope_ps, sim.cluster[0].clock - inst.start)


@inlined
def is_behind(sim, i):
    """Whether iterations of the jump in flight have started whose blocks are not taken yet."""
    inst = sim.inst[i]
    if inst.planned <= inst.grown:
        return False
    return sim.cluster[0].clock > inst.start + jump_ps(inst.step_ps, inst.slope_ps, inst.grown)


@inlined
def bring_up_to_date(sim, i):
    """Let a reader in the middle of a jump see the blocks as they are now."""
    if is_behind(sim, i):
        grow_until(sim, i, started_iterations(sim, i))


@compiled
def cut_jump(sim, i):
    """End the jump in flight with the iteration after which somebody who joins the queue now may be admitted: with the
    first that ends at or after now, or with asynchronous scheduling the next.
    """
    inst = sim.inst[i]
    iterations = started_iterations(sim, i) + sim.group[inst.group].asynchronous
    if inst.planned > iterations:
        inst.planned = iterations
        set_event(sim, i, inst.start + jump_ps(inst.step_ps, inst.slope_ps, iterations))
