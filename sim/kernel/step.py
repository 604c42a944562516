"""A step of an instance: whom the batching policy schedules, how long it takes, and what its end brings."""

from .completions import next_completion, pop_completion
from .decode import LONGEST_JUMP, drop_from_totals, enter_decode, grow_until, plan_jump, window_kv
from .events import fall_due, queue_start, set_event
from .indirect import call_schedule
from .jit import compiled, inlined
from .jumps import note_jump
from .kvcache import free_request
from .queues import prefill_remove, run_remove
from .record import class_on_arrival, end_gap, end_gaps_of_returned, record_jump
from .state import DONE, NEVER, NONE
from .steptime import batch_ps, batch_slope_ps, chunk_ps, jump_ps, launch_ps, microbatches
from .waiting import known_tokens, set_queued


@inlined
def _time_step(sim, i):
    """Note how long the scheduled step takes, starting now; return for how many iterations times form a series."""
    cluster, inst = sim.cluster[0], sim.inst[i]
    decodes, kv_tokens, generated_tokens = 0, 0, 0
    window_tokens, growing, steady = 0, 0, LONGEST_JUMP
    if inst.paused == 0:
        decodes = inst.decoding
        kv_tokens = inst.decode_kv + decodes
        generated_tokens = kv_tokens - inst.decode_prompt
        if sim.group[inst.group].window_tokens > 0:
            window_tokens, growing, steady = window_kv(sim, i)
    prefill_tokens, sequences, chunks_ps = 0, decodes, 0
    r = inst.prefill_head
    while r != NONE:
        req = sim.req[r]
        if req.mark == inst.steps:
            prefill_tokens += req.chunk
            sequences += 1
            chunks_ps += chunk_ps(sim, i, req.chunk, req.computed - req.chunk)
        r = req.prefill_next
    tokens, shares = microbatches(sim, i, prefill_tokens, decodes)
    if shares > 1:
        chunks_ps //= shares
    chunks_ps += launch_ps(sim, i, sequences - decodes, decodes)
    inst.step_chunks = sequences - decodes
    inst.step_prefill = prefill_tokens
    inst.start = cluster.clock
    inst.step_ps = chunks_ps + batch_ps(sim, i, tokens, sequences, decodes, kv_tokens, window_tokens, generated_tokens)
    if inst.load_ps > 0:
        overlap = sim.group[inst.group].overlap_loads
        inst.step_ps = max(inst.step_ps, inst.load_ps) if overlap else inst.step_ps + inst.load_ps
        inst.load_ps = 0
    inst.slope_ps = batch_slope_ps(sim, i, decodes, growing)
    return steady


@compiled
def start_step(sim, i):
    """Start an iteration, or a jump over many, on an instance with none in flight."""
    inst = sim.inst[i]
    if inst.running + inst.waiting == 0:
        return
    preemptions = inst.preemptions
    inst.paused = 0
    may_jump = call_schedule(sim.group[inst.group].schedule, sim, i)
    steady = _time_step(sim, i)
    inst.planned = 1
    inst.grown = 1
    all_in_decode = inst.decoding > 0 and inst.prefilling + inst.parked + inst.returned + inst.entangled == 0
    if may_jump and all_in_decode and inst.preemptions == preemptions:
        inst.planned = min(plan_jump(sim, i), steady)
    set_event(sim, i, inst.start + jump_ps(inst.step_ps, inst.slope_ps, inst.planned))


@compiled
def _finish_request(sim, i, r, computed):
    cluster, req, inst = sim.cluster[0], sim.req[r], sim.inst[i]
    req.state = DONE
    req.generated = req.output
    req.computed = 0
    req.finish = cluster.clock
    run_remove(sim, i, r)
    free_request(sim, i, r, computed)
    inst.finished += 1
    cluster.finished += 1
    child = req.first_child
    while child != NONE:
        sim.req[child].arrival = cluster.clock + sim.req[child].think
        class_on_arrival(sim, child)
        fall_due(sim, child, sim.req[child].arrival)
        child = sim.req[child].next_sibling


@inlined
def _end_prefills(sim, i):
    """Prefills that this step completed yield a token and move on to decode; return how many of them are finished
    altogether.

    Those are left in ``sim.finishing``, in admission order.
    """
    inst = sim.inst[i]
    finishing = 0
    r = inst.prefill_head
    while r != NONE:
        req = sim.req[r]
        after = req.prefill_next
        if req.mark == inst.steps:
            known = known_tokens(sim, r)
            set_queued(sim, i, r, known - req.computed)
            if req.computed == known:
                prefill_remove(sim, i, r)
                if req.first_token == NONE:
                    req.first_token = sim.cluster[0].clock
                else:
                    end_gap(sim, r)
                req.generated += 1
                inst.tokens += 1
                if req.generated == req.output:
                    sim.finishing[finishing] = r
                    finishing += 1
                else:
                    enter_decode(sim, i, r, req.computed, inst.iteration)
        r = after
    return finishing


@compiled
def finish_jump(sim, i):
    """The jump in flight on instance ``i`` ends now."""
    inst = sim.inst[i]
    grow_until(sim, i, inst.planned)
    inst.last_start = inst.start + jump_ps(inst.step_ps, inst.slope_ps, inst.planned - 1)
    inst.last_end = sim.cluster[0].clock
    finished_before = inst.finished
    if inst.paused == 0:
        end_gaps_of_returned(sim, i)
    record_jump(sim, i, inst.planned)
    note_jump(sim, i, inst.planned, 0)
    inst.iteration += inst.planned
    inst.decode_kv += inst.planned * inst.decoding
    inst.planned = 0
    inst.grown = 0
    set_event(sim, i, NEVER)
    finishing = _end_prefills(sim, i) if inst.prefilling > 0 else 0
    nth = 0
    while inst.due > 0 and next_completion(sim, i) <= inst.iteration:
        r = pop_completion(sim, i)
        drop_from_totals(sim, i, r)
        while nth < finishing and sim.req[sim.finishing[nth]].admission < sim.req[r].admission:
            _finish_request(sim, i, sim.finishing[nth], sim.req[sim.finishing[nth]].computed)
            nth += 1
        _finish_request(sim, i, r, sim.req[r].anchor + inst.iteration)
    while nth < finishing:
        _finish_request(sim, i, sim.finishing[nth], sim.req[sim.finishing[nth]].computed)
        nth += 1
    inst.last_finished = inst.finished - finished_before
    inst.steps += 1
    queue_start(sim, i)
