"""What happens next: a tournament tree over the instances' jumps, a heap of due arrivals, the sorted root arrivals."""

from .jit import compiled, inlined
from .queues import heap_push
from .state import ABSENT, NEVER, NONE


@inlined
def set_event(sim, i, when):
    """The jump in flight on instance ``i`` ends at ``when`` (NEVER: none in flight)."""
    sim.when[i] = when
    tree, times = sim.tree, sim.when
    node = (len(tree) // 2 + i) >> 1
    while node > 0:
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if right == NONE or times[left] <= times[right] else right
        node >>= 1


@inlined
def first_instance(sim):
    """The instance whose jump ends first."""
    return sim.tree[1]


@compiled
def queue_start(sim, i):
    """Instance ``i`` starts a step once everything else of this instant has happened, in the order of the instances."""
    cluster = sim.cluster[0]
    if sim.inst[i].queued_start == 0:
        sim.inst[i].queued_start = 1
        at = cluster.starts
        while at > 0 and sim.starts[at - 1] < i:
            sim.starts[at] = sim.starts[at - 1]
            at -= 1
        sim.starts[at] = i
        cluster.starts += 1


@inlined
def fall_due(sim, r, when):
    """Request ``r`` (a follow-up, or one given back) reaches the router at ``when``."""
    cluster, req = sim.cluster[0], sim.req[r]
    req.state = ABSENT
    req.key = when
    req.key2 = 0
    cluster.due_root = heap_push(sim, cluster.due_root, r)


@inlined
def next_arrival_time(sim):
    """Time of the next arrival. Requests held at the router arrive as soon as an instance accepts."""
    cluster = sim.cluster[0]
    if cluster.held_head != NONE and cluster.accepting > 0:
        return cluster.clock
    when = NEVER
    if cluster.next_root < len(sim.roots):
        when = sim.req[sim.roots[cluster.next_root]].arrival
    if cluster.due_root != NONE:
        when = min(when, sim.req[cluster.due_root].key)
    return when


@compiled
def root_comes_first(sim):
    """Whether the next arrival is a root request rather than one that fell due (ties: by request id)."""
    cluster = sim.cluster[0]
    if cluster.next_root >= len(sim.roots):
        return False
    if cluster.due_root == NONE:
        return True
    root = sim.roots[cluster.next_root]
    due = cluster.due_root
    return (sim.req[root].arrival, root) < (sim.req[due].key, due)
