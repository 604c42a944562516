"""The event loop, and the operations that the control plane performs between two calls of it."""

from .decode import bring_up_to_date, cut_jump, started_iterations
from .events import fall_due, first_instance, next_arrival_time, queue_start, root_comes_first, set_event
from .indirect import call_router
from .jit import compiled, inlined
from .jumps import note_jump
from .kvcache import forget_everything
from .prefix_index import copy_fits, forget_notes, note_prefix
from .queues import heap_pop, prefill_remove, run_remove
from .record import record_jump
from .signals import refresh_due, show_fresh
from .state import (
    BAD_CHOICE,
    FINISHED,
    GROW,
    HELD,
    LONGEST_PS,
    NEVER,
    NONE,
    PAUSE,
    PREFILL,
    REACHED,
    REJECT,
    REJECTED,
    ROUTE,
    SENT,
    STALLED,
    TOO_LONG,
)
from .step import finish_jump, start_step
from .steptime import jump_ps
from .waiting import join_queue


@inlined
def _pools_suffice(sim):
    """Whether the pools hold whatever one more event may need (see `build.pool_margins`)."""
    cluster = sim.cluster[0]
    slots = cluster.most_new_slots
    return (
        len(sim.slot) - cluster.used_slots >= slots
        and len(sim.piece) - cluster.used_pieces >= slots + min(cluster.used_slots, cluster.most_usable)
        and len(sim.holder) - cluster.holders_end >= slots << (cluster.largest_class + 1)
        and len(sim.jump) > cluster.noted_jumps
    )


@inlined
def _router_pools_suffice(sim):
    """Whether the router can note one more arrival."""
    cluster = sim.cluster[0]
    return len(sim.log) > cluster.logged and len(sim.note) - cluster.used_notes >= cluster.most_new_notes


@compiled
def _next_request(sim):
    """Take the next arrival off its queue."""
    cluster = sim.cluster[0]
    if cluster.held_head != NONE and cluster.accepting > 0:
        r = cluster.held_head
        cluster.held_head = sim.req[r].run_next
    elif root_comes_first(sim):
        r = sim.roots[cluster.next_root]
        cluster.next_root += 1
    else:
        r = cluster.due_root
        cluster.due_root = heap_pop(sim, r)
    return r


@inlined
def _hold(sim, r):
    """No instance accepts requests: keep this one at the router."""
    cluster = sim.cluster[0]
    sim.req[r].state = HELD
    sim.req[r].run_next = NONE
    if cluster.held_head == NONE:
        cluster.held_head = r
    else:
        sim.req[cluster.held_tail].run_next = r
    cluster.held_tail = r


@compiled
def assign(sim, r, i):
    """Request ``r`` was routed to instance ``i``: it waits there from now on."""
    inst = sim.inst[i]
    sim.req[r].instance = i
    if sim.cluster[0].index == SENT:
        note_prefix(sim, r, i)
    join_queue(sim, i, r)
    if inst.planned == 0:
        if inst.frozen == 0:
            queue_start(sim, i)
    elif inst.queue_root == r:
        cut_jump(sim, i)


@compiled
def reject(sim, r):
    """The router refuses request ``r``, and with it whatever would have followed it."""
    cluster = sim.cluster[0]
    todo = r
    sim.req[r].run_next = NONE
    while todo != NONE:
        refused = sim.req[todo]
        refused.state = REJECTED
        cluster.rejected += 1
        todo = refused.run_next
        child = refused.first_child
        while child != NONE:
            sim.req[child].run_next = todo
            todo = child
            child = sim.req[child].next_sibling


@compiled
def advance(sim, until, router, events):
    """Run every event up to and including time ``until`` (ps); return why it stopped.

    ``router`` is the address of a compiled policy, or 0 to return ROUTE for every arrival, with the request in
    ``cluster.asked`` (`assign` or `reject` it, then go on). After ``events`` events it returns PAUSE; GROW asks for
    larger pools, REACHED and FINISHED speak for themselves, STALLED means that requests wait at the router and nothing
    can happen until an instance accepts. TOO_LONG is the end of the clock. BAD_CHOICE says that the router chose no
    accepting instance for ``cluster.asked``, and did not answer REJECT.
    """
    cluster = sim.cluster[0]
    stop = cluster.events + events
    while True:
        i = first_instance(sim)
        arrival = next_arrival_time(sim)
        now = min(sim.when[i], arrival)
        if cluster.starts > 0:
            now = cluster.clock
        if now == NEVER:
            return FINISHED if cluster.finished + cluster.rejected == len(sim.req) else STALLED
        if min(now, until) >= cluster.refresh_at:
            if not copy_fits(sim):
                return GROW
            refresh_due(sim, min(now, until))
        if now > until:
            return REACHED
        if now > LONGEST_PS:
            return TOO_LONG
        if cluster.events >= stop:
            return PAUSE
        if not _pools_suffice(sim):
            return GROW
        if now == arrival and not _router_pools_suffice(sim):
            return GROW
        cluster.clock = now
        cluster.events += 1
        if sim.when[i] == now:
            finish_jump(sim, i)
        elif arrival == now:
            r = _next_request(sim)
            if cluster.accepting == 0:
                _hold(sim, r)
            elif router == 0:
                cluster.asked = r
                return ROUTE
            else:
                show_fresh(sim)
                choice = call_router(router, sim, r)
                if choice == REJECT:
                    reject(sim, r)
                    continue
                if choice < 0 or choice >= len(sim.inst) or sim.inst[choice].accepting == 0:
                    cluster.asked = r
                    return BAD_CHOICE
                assign(sim, r, choice)
        else:
            cluster.starts -= 1
            i = sim.starts[cluster.starts]
            sim.inst[i].queued_start = 0
            start_step(sim, i)


@compiled
def set_accepting(sim, first, end, accepts):
    """Instances ``first`` to ``end`` - 1 accept requests from now on, or no longer."""
    cluster = sim.cluster[0]
    for i in range(first, end):
        sim.inst[i].accepting = accepts
    cluster.accepting = 0
    for k in range(len(sim.inst)):
        if sim.inst[k].accepting == 1:
            sim.accepting[cluster.accepting] = k
            cluster.accepting += 1


@inlined
def _give_back(sim, i, r, at):
    """Request ``r`` loses its progress on instance ``i`` and reaches the router again at time ``at``."""
    req, inst = sim.req[r], sim.inst[i]
    req.instance = NONE
    req.hit = NONE
    req.host_hit = 0
    req.pool_hit = 0
    req.first_scheduled = NONE
    req.first_token = NONE
    req.generated = 0
    req.computed = 0
    req.private = 0
    req.slot = NONE
    req.extent = 0
    req.in_tail = 0
    req.entangled = 0
    req.mark = NONE
    req.last_token = NONE
    inst.queued_prefill -= req.queued
    req.queued = 0
    fall_due(sim, r, at)


@compiled
def freeze(sim, i):
    """Instance ``i`` hangs from now on: its iteration in flight never ends and no other starts, and nobody notices."""
    inst = sim.inst[i]
    inst.frozen = 1
    if inst.planned == 0:
        return
    bring_up_to_date(sim, i)
    started = started_iterations(sim, i)
    record_jump(sim, i, started - 1)
    note_jump(sim, i, started - 1, 1)
    inst.busy_ps += sim.cluster[0].clock - inst.start - jump_ps(inst.step_ps, inst.slope_ps, started - 1)
    inst.iteration += started  # the KV of the iteration in flight exists, its tokens do not
    inst.decode_kv += started * inst.decoding
    inst.planned = 0
    inst.grown = 0
    inst.steps += 1
    set_event(sim, i, NEVER)


@compiled
def fail(sim, i, backoff_ps):
    """Instance ``i`` fails now: its iteration in flight is lost, its requests go back to the router ``backoff_ps``
    later, its cache is gone.
    """
    inst = sim.inst[i]
    at = sim.cluster[0].clock + backoff_ps
    set_accepting(sim, i, i + 1, 0)
    freeze(sim, i)
    inst.frozen = 0
    forget_everything(sim, i)
    if sim.cluster[0].index == SENT:
        forget_notes(sim, i)
    while inst.run_head != NONE:
        r = inst.run_head
        run_remove(sim, i, r)
        if sim.req[r].state == PREFILL:
            prefill_remove(sim, i, r)
        _give_back(sim, i, r, at)
    while inst.queue_root != NONE:
        r = inst.queue_root
        inst.queue_root = heap_pop(sim, r)
        _give_back(sim, i, r, at)
    inst.waiting = 0
    inst.decoding = 0
    inst.decode_kv = 0
    inst.decode_prompt = 0
    inst.parked = 0
    inst.parked_kv = 0
    inst.returned = 0
    inst.entangled = 0
    inst.due = 0
    sim.residue[i, :] = 0
    sim.decoding_of[i, :] = 0
