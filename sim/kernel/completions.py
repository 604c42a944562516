"""Who finishes next on an instance: a binary heap per instance, keyed by iteration number, then admission order.

Keyed by the iteration and not by the time, so that no key changes when iterations turn out longer.
"""

from .jit import compiled, inlined

ADMISSION_BITS = 32


@inlined
def next_completion(sim, i):
    """Iteration number after which the next decode request of instance ``i`` has all its tokens."""
    return sim.heap[i, 0].key >> ADMISSION_BITS


@compiled
def push_completion(sim, i, r, iteration):
    heap = sim.heap
    key = (iteration << ADMISSION_BITS) | sim.req[r].admission
    at = sim.inst[i].due
    sim.inst[i].due += 1
    while at > 0:
        above = (at - 1) >> 1
        if heap[i, above].key < key:
            break
        heap[i, at].key = heap[i, above].key
        heap[i, at].request = heap[i, above].request
        at = above
    heap[i, at].key = key
    heap[i, at].request = r


@inlined
def _sift_down(heap, i, at, size, key, request):
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and heap[i, below + 1].key < heap[i, below].key:
            below += 1
        if key < heap[i, below].key:
            break
        heap[i, at].key = heap[i, below].key
        heap[i, at].request = heap[i, below].request
        at = below
    heap[i, at].key = key
    heap[i, at].request = request


@compiled
def pop_completion(sim, i):
    """Remove and return the request that finishes next."""
    heap = sim.heap
    r = heap[i, 0].request
    sim.inst[i].due -= 1
    size = sim.inst[i].due
    if size > 0:
        _sift_down(heap, i, 0, size, heap[i, size].key, heap[i, size].request)
    return r


@compiled
def remove_completion(sim, i, r):
    """Take a request out of the middle: it was preempted or parked."""
    heap = sim.heap
    at = 0
    while heap[i, at].request != r:
        at += 1
    sim.inst[i].due -= 1
    size = sim.inst[i].due
    key, request = heap[i, size].key, heap[i, size].request
    if at == size:
        return
    while at > 0 and key < heap[i, (at - 1) >> 1].key:
        above = (at - 1) >> 1
        heap[i, at].key = heap[i, above].key
        heap[i, at].request = heap[i, above].request
        at = above
    _sift_down(heap, i, at, size, key, request)
