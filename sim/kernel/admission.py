"""From the waiting queue into the running list, and back.

Whether the first in the queue fits is the batching policy's to say (its *grant*).
"""

from .decode import leave_decode
from .hits import look_up, may_hit_growth, take_hit
from .indirect import call_grant
from .jit import compiled, inlined
from .kvcache import cache_blocks, free_request
from .line import POOL_LINE, host_line
from .lru import take_blocks
from .queues import heap_pop, prefill_append, prefill_remove, run_append, run_remove
from .state import DECODE, NONE, PARKED, PREFILL
from .tiers import pooled_blocks, there_is_a_pool
from .waiting import enqueue, known_tokens, order_by_match, order_stays, place_ahead, set_queued


@inlined
def blocks_for(sim, tokens):
    size = sim.cluster[0].block_size
    return (tokens + size - 1) // size


@inlined
def wanted(sim, r, computed, budget):
    """Tokens that a request in prefill gets in a step with ``budget`` tokens left."""
    tokens = min(known_tokens(sim, r) - computed, budget)
    threshold = sim.group[sim.inst[sim.req[r].instance].group].threshold
    return min(tokens, threshold) if threshold > 0 else tokens


@compiled
def schedule_chunk(sim, i, r, tokens):
    """Compute the next ``tokens`` tokens of a request in prefill, for which there are blocks."""
    req = sim.req[r]
    take_blocks(sim, i, blocks_for(sim, req.computed + tokens) - blocks_for(sim, req.computed))
    req.chunk = tokens
    req.mark = sim.inst[i].steps
    req.computed += tokens
    cache_blocks(sim, i, r, req.computed // sim.cluster[0].block_size)


@compiled
def _load(sim, i, r, from_host, from_pool):
    """Blocks from below the GPU, up to the tokens that request ``r`` counts as computed, come into free ones. They
    leave host memory before those that they evict get there.
    """
    group = sim.group[sim.inst[i].group]
    cache_blocks(sim, i, r, sim.req[r].computed // sim.cluster[0].block_size)
    take_blocks(sim, i, from_host + from_pool)
    sim.inst[i].load_ps += from_host * group.host_block_ps + from_pool * group.pool_block_ps
    sim.line[host_line(i)].loaded += from_host
    sim.line[POOL_LINE].loaded += from_pool


@compiled
def admit(sim, i, budget, scheduled, finished):
    """Admit waiting requests from the head while tokens, seats and blocks last, as it was known at time ``scheduled``,
    when ``finished`` requests that are gone had their seats; but on all that is known if else nobody would run. Return
    whether the head of the queue has to wait for the next step's schedule.
    """
    cluster, inst = sim.cluster[0], sim.inst[i]
    group = sim.group[inst.group]
    if cluster.by_match and inst.running < group.max_seqs:
        order_by_match(sim, i)
    while inst.waiting > 0 and budget > 0 and inst.running < group.max_seqs:
        r = inst.queue_root
        req = sim.req[r]
        if req.joined > scheduled or inst.running + finished >= group.max_seqs:
            if inst.running > 0:
                return True
            scheduled, finished = cluster.clock, 0
        known = known_tokens(sim, r)
        own, on_gpu, deepest, idle_hits = look_up(sim, i, r, known)
        hit_blocks = max(own, pooled_blocks(sim, r, known)) if there_is_a_pool(sim) else own
        loaded = hit_blocks - on_gpu
        tokens = call_grant(group.grant, sim, r, hit_blocks, idle_hits + loaded, budget)
        if tokens == 0:
            return False
        hit = hit_blocks * cluster.block_size
        inst.queue_root = heap_pop(sim, r)
        inst.waiting -= 1
        req.state = PREFILL
        req.computed = hit
        req.admission = inst.admissions
        inst.admissions += 1
        run_append(sim, i, r)
        prefill_append(sim, i, r)
        if on_gpu > 0:
            take_hit(sim, i, r, deepest, on_gpu)
        if loaded > 0:
            _load(sim, i, r, own - on_gpu, hit_blocks - own)
        if req.hit == NONE:
            req.hit = on_gpu * cluster.block_size
            req.host_hit = (own - on_gpu) * cluster.block_size
            req.pool_hit = (hit_blocks - own) * cluster.block_size
            req.first_scheduled = cluster.clock
            inst.hit_tokens += req.hit
            inst.prompt_tokens += req.input
        set_queued(sim, i, r, known - hit)
        schedule_chunk(sim, i, r, tokens)
        budget -= tokens
    return False


@inlined
def admit_as_scheduled(sim, i, budget):
    """`admit` on what was known when this step was scheduled: with asynchronous scheduling when the one before started,
    if it has just ended.
    """
    cluster, inst = sim.cluster[0], sim.inst[i]
    scheduled, finished = cluster.clock, 0
    if sim.group[inst.group].asynchronous and inst.last_end == cluster.clock:
        scheduled, finished = inst.last_start, inst.last_finished
    return admit(sim, i, budget, scheduled, finished)


@inlined
def stay_blocked(sim, i, pool_counts):
    """Whether those whom this step left waiting cannot be admitted until somebody finishes.

    Seats and free blocks only get fewer, and so do the hits, unless somebody in the batch fills them; or unless others
    change the pool, where what it holds of a request counts for its admission (``pool_counts``).
    """
    inst = sim.inst[i]
    if inst.waiting == 0 or inst.running == sim.group[inst.group].max_seqs:
        return True
    if pool_counts and there_is_a_pool(sim):
        return False
    return order_stays(sim, i) and not may_hit_growth(sim, i, inst.queue_root)


@compiled
def preempt(sim, i, r, place):
    """Send a running request back to the queue; return the tokens that this step had already given it."""
    req, inst = sim.req[r], sim.inst[i]
    returned = req.chunk if req.mark == inst.steps else 0
    if req.state == DECODE:
        leave_decode(sim, i, r)
        req.computed += returned
    elif req.state == PARKED:
        inst.parked -= 1
        inst.parked_kv -= req.computed
    else:
        prefill_remove(sim, i, r)
    run_remove(sim, i, r)
    free_request(sim, i, r, req.computed)
    req.computed = 0
    req.mark = NONE
    req.preemptions += 1
    inst.preemptions += 1
    enqueue(sim, i, r, place)
    return returned


@compiled
def preempt_newest(sim, i):
    """Send the newest running request, or with ranks the last of their order, back to the head of the queue; return
    the tokens that this step had already given it.
    """
    inst = sim.inst[i]
    victim = inst.run_tail
    if sim.cluster[0].ranked:
        r = inst.run_head
        victim = r
        while r != NONE:
            a, b = sim.req[r], sim.req[victim]
            if (a.rank, a.arrival, r) > (b.rank, b.arrival, victim):
                victim = r
            r = sim.req[r].run_next
    return preempt(sim, i, victim, place_ahead(sim, i))
