"""The three queues of requests: due arrivals and waiting requests (one pairing heap), running requests (a linked list).

A request is in at most one heap at a time, so the links live in its own record and a queue is just the index of its
root. Smallest
``(key, key2, id)`` comes first: for arrivals the key is the time, for a waiting queue what its order says.
"""

from .jit import compiled, inlined
from .state import NONE


@inlined
def _before(sim, a, b):
    x, y = sim.req[a], sim.req[b]
    if x.key != y.key:
        return x.key < y.key
    if x.key2 != y.key2:
        return x.key2 < y.key2
    return a < b


@inlined
def _link(sim, a, b):
    """Make the later of two heaps a child of the earlier; return the earlier."""
    if _before(sim, b, a):
        a, b = b, a
    sim.req[b].heap_sibling = sim.req[a].heap_child
    sim.req[a].heap_child = b
    return a


@inlined
def heap_push(sim, root, r):
    """Insert request ``r`` with its keys set; return the new root."""
    sim.req[r].heap_child = NONE
    sim.req[r].heap_sibling = NONE
    return r if root == NONE else _link(sim, root, r)


@compiled
def heap_pop(sim, root):
    """Remove the root; return the new root."""
    pairs = NONE  # first pass: link children two by two, stacking the results
    child = sim.req[root].heap_child
    while child != NONE:
        a = child
        b = sim.req[a].heap_sibling
        child = NONE
        if b != NONE:
            child = sim.req[b].heap_sibling
            sim.req[b].heap_sibling = NONE
            a = _link(sim, a, b)
        sim.req[a].heap_sibling = pairs
        pairs = a
    merged = NONE  # second pass: link the stack into one
    while pairs != NONE:
        rest = sim.req[pairs].heap_sibling
        sim.req[pairs].heap_sibling = NONE
        merged = pairs if merged == NONE else _link(sim, merged, pairs)
        pairs = rest
    return merged


@inlined
def run_append(sim, i, r):
    """Put request ``r`` at the end of the running list of instance ``i``."""
    inst = sim.inst[i]
    sim.req[r].run_prev = inst.run_tail
    sim.req[r].run_next = NONE
    if inst.run_tail == NONE:
        inst.run_head = r
    else:
        sim.req[inst.run_tail].run_next = r
    inst.run_tail = r
    inst.running += 1


@inlined
def run_remove(sim, i, r):
    inst = sim.inst[i]
    before, after = sim.req[r].run_prev, sim.req[r].run_next
    if before == NONE:
        inst.run_head = after
    else:
        sim.req[before].run_next = after
    if after == NONE:
        inst.run_tail = before
    else:
        sim.req[after].run_prev = before
    inst.running -= 1


@inlined
def prefill_append(sim, i, r):
    """Put request ``r`` at the end of the list of requests in prefill (admission order, like the running list)."""
    inst = sim.inst[i]
    sim.req[r].prefill_prev = inst.prefill_tail
    sim.req[r].prefill_next = NONE
    if inst.prefill_tail == NONE:
        inst.prefill_head = r
    else:
        sim.req[inst.prefill_tail].prefill_next = r
    inst.prefill_tail = r
    inst.prefilling += 1


@inlined
def prefill_remove(sim, i, r):
    inst = sim.inst[i]
    before, after = sim.req[r].prefill_prev, sim.req[r].prefill_next
    if before == NONE:
        inst.prefill_head = after
    else:
        sim.req[before].prefill_next = after
    if after == NONE:
        inst.prefill_tail = before
    else:
        sim.req[after].prefill_prev = before
    inst.prefilling -= 1
