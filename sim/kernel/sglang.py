"""SGLang's policy: steps of prefill alone while there is any, else steps of decode alone.

How much of its output a running request will need is estimated as a *ratio*, an integer in units of 1 / RATIO_UNIT. It
is kept as it was before iteration ``ratio_at``, and decays with each one since; iterations count decode steps only.
"""

from .admission import admit_as_scheduled, preempt, schedule_chunk, wanted
from .batching import batching
from .decode import growth
from .jit import compiled, inlined
from .kvcache import computed_tokens
from .lru import free_blocks
from .running import schedule_in_order
from .state import DECODE, NONE
from .waiting import known_tokens, place_behind

RATIO_UNIT = 300_000  # in which all of SGLang's constants are whole
FIRST_RATIO = 210_000  # 0.7
LAST_RATIO = 29_400  # 0.14 times that
DECAY_A_STEP = 301  # from first to last in 600 steps
RETRACTION_STEPS = 20
MOST_ESTIMATED_TOKENS = 4096  # of a request's output


@inlined
def _ratio(sim, i):
    """The ratio before the next iteration."""
    inst = sim.inst[i]
    steps = inst.iteration - inst.ratio_at
    return inst.ratio if steps <= 0 else max(LAST_RATIO, inst.ratio - DECAY_A_STEP * steps)


@inlined
def _generated_tokens(sim, r):
    req = sim.req[r]
    return computed_tokens(sim, r) + 1 - req.input if req.state == DECODE else req.generated


@inlined
def _yet_tokens(sim, r):
    """Estimated output that a request has yet to generate."""
    return min(sim.req[r].output - _generated_tokens(sim, r), MOST_ESTIMATED_TOKENS)


@compiled
def _promised_tokens(sim, i):
    """What the running requests are expected to need; all that is left of the output of one in prefill."""
    decoding, prefilling = 0, 0
    r = sim.inst[i].run_head
    while r != NONE:
        if sim.req[r].state == DECODE:
            decoding += _yet_tokens(sim, r)
        else:
            prefilling += _yet_tokens(sim, r)
        r = sim.req[r].run_next
    return prefilling + (decoding * _ratio(sim, i) + RATIO_UNIT - 1) // RATIO_UNIT


@compiled
def _grant_estimated(sim, r, hit_blocks, idle_hits, budget):
    """A chunk, if there is room for all known tokens, the estimated output and a block; else the batch is full."""
    inst, size = sim.inst[sim.req[r].instance], sim.cluster[0].block_size
    hit = hit_blocks * size
    yet = _yet_tokens(sim, r)
    free_tokens = (free_blocks(sim, sim.req[r].instance) - idle_hits) * size - inst.promised
    if known_tokens(sim, r) - hit + yet + size > free_tokens:
        inst.full = 1
        return 0
    inst.promised += yet
    return wanted(sim, r, hit, budget)


@inlined
def _pause_decode(sim, i):
    """The decode batch does nothing in this step: it is put back into its last iteration, at whose end it stays."""
    inst = sim.inst[i]
    for at in range(inst.due):
        req = sim.req[sim.heap[i, at].request]
        if req.last_token == NONE:
            req.last_token = sim.cluster[0].clock
        inst.returned = 1
    inst.paused = 1
    inst.iteration -= 1
    inst.decode_kv -= inst.decoding


@compiled
def _retraction_victim(sim, i):
    """The running request with the fewest generated tokens, then the longest prompt; of several the newest."""
    victim = sim.inst[i].run_tail
    r = sim.req[victim].run_prev
    while r != NONE:
        ours, theirs = _generated_tokens(sim, r), _generated_tokens(sim, victim)
        if ours < theirs or (ours == theirs and sim.req[r].input > sim.req[victim].input):
            victim = r
        r = sim.req[r].run_prev
    return victim


@compiled
def _retract(sim, i):
    """Send decode requests to the back of the queue until the others' next tokens have blocks; renew the ratio."""
    inst = sim.inst[i]
    while growth(sim, i, inst.iteration, 1) > free_blocks(sim, i):
        preempt(sim, i, _retraction_victim(sim, i), place_behind(sim, i))
    generated, output = RETRACTION_STEPS * inst.running, 0
    r = inst.run_head
    while r != NONE:
        generated += _generated_tokens(sim, r)
        output += sim.req[r].output
        r = sim.req[r].run_next
    inst.ratio = min(RATIO_UNIT, generated * RATIO_UNIT // (output + 1))
    inst.ratio_at = inst.iteration + 1
    inst.full = 0


@batching("sglang", _grant_estimated, spare_blocks=2)
def _sglang(sim, i):
    """prefill first: steps of prefill alone while anybody fits, else steps of decode alone (SGLang)"""
    cluster, inst = sim.cluster[0], sim.inst[i]
    if inst.last_end < cluster.clock:
        inst.ratio = FIRST_RATIO
        inst.ratio_at = inst.iteration
        inst.full = 0
    elif inst.last_finished > 0:
        inst.full = 0
    budget = sim.group[inst.group].max_tokens
    chunked = inst.prefill_head  # nobody is admitted beside a prompt that does not fit into the step
    if chunked != NONE:
        tokens = wanted(sim, chunked, sim.req[chunked].computed, budget)
        schedule_chunk(sim, i, chunked, tokens)
        budget -= tokens
    late = False
    if inst.waiting > 0 and (chunked != NONE or inst.full == 0):
        inst.promised = _promised_tokens(sim, i)
        late = admit_as_scheduled(sim, i, budget)
    if inst.prefilling > 0:
        _pause_decode(sim, i)
        return 0
    if growth(sim, i, inst.iteration, 1) > free_blocks(sim, i):
        _retract(sim, i)
    schedule_in_order(sim, i)
    return 0 if late else 1
