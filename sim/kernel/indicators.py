"""What a router may know of the instances: as of this instant, or of the last refresh (signals.py)."""

from .decode import bring_up_to_date, is_behind, started_iterations
from .jit import compiled, inlined
from .kvcache import computed_tokens, grows_unseen
from .prefix_index import noted_hits
from .state import CACHES, NONE
from .steptime import iterations_until
from .tiers import pooled_blocks


@inlined
def queued_requests(sim, i):
    """Requests waiting."""
    return sim.shown[i].waiting


@inlined
def running_requests(sim, i):
    """Requests running."""
    return sim.shown[i].running


@inlined
def batch_size(sim, i):
    """Requests running or waiting."""
    return sim.shown[i].running + sim.shown[i].waiting


@inlined
def queued_prefill_tokens(sim, i):
    """Prompt tokens waiting or not yet prefilled."""
    return sim.shown[i].queued_prefill


@inlined
def decode_kv_tokens(sim, i):
    """KV tokens of the requests in decode, the iteration in flight included."""
    shown = sim.shown[i]
    started = shown.planned
    if started > 1:
        started = iterations_until(shown.step_ps, shown.slope_ps, sim.cluster[0].clock - shown.start)
    return shown.decode_kv + shown.parked_kv + started * shown.decoding


@inlined
def true_decode_kv_tokens(sim, i):
    """The same whatever the router sees."""
    inst = sim.inst[i]
    return inst.decode_kv + inst.parked_kv + started_iterations(sim, i) * inst.decoding


@inlined
def used_blocks(sim, i):
    """KV blocks in use."""
    shown = sim.shown[i]
    if shown.planned > 1:
        bring_up_to_date(sim, i)
    return shown.usable - shown.blank - shown.idle


@inlined
def kv_used_fraction(sim, i):
    """KV blocks in use / usable blocks."""
    return used_blocks(sim, i) / sim.inst[i].usable


@inlined
def new_tokens(sim, r, i):
    """Prompt tokens that request ``r`` would have to compute on instance ``i``; after `hit_tokens`."""
    return sim.req[r].input - sim.hits[i]


@inlined
def _note_hit(sim, i, path_blocks):
    if sim.hits[i] == 0:
        sim.hits[i] = path_blocks * sim.cluster[0].block_size


@compiled
def hit_tokens(sim, r):
    """Fill ``sim.hits`` with what each instance has of the arriving request ``r``, in tokens, on its GPU or in its host
    memory; with a prefix index of the router's own, with what that says.

    Walks from the request's tail up to the root; residency is closed, so the first segment that an instance holds
    tells its hit.
    """
    sim.hits[:] = 0
    if sim.cluster[0].index != CACHES:
        noted_hits(sim, r)
        return
    limit = (sim.req[r].input - 1) // sim.cluster[0].block_size
    x = r
    while x != NONE:
        seg = sim.seg[x]
        if seg.first_block < limit:
            if x != r and x < len(sim.req) and grows_unseen(sim, sim.req[x].instance, x):
                i = sim.req[x].instance
                bring_up_to_date(sim, i)
                blocks = min(computed_tokens(sim, x) // sim.cluster[0].block_size, limit)
                if blocks > seg.first_block:
                    _note_hit(sim, i, blocks)
            if seg.shared == 1:
                # Backwards: bringing an instance up to date may evict its own entry, which the last one then replaces.
                for at in range(seg.holders + seg.holder_count - 1, seg.holders - 1, -1):
                    i = sim.holder[at].instance
                    if is_behind(sim, i) and sim.slot[sim.holder[at].slot].in_use < sim.holder[at].resident:
                        bring_up_to_date(sim, i)
                        if at >= seg.holders + seg.holder_count or sim.holder[at].instance != i:
                            continue
                    _note_hit(sim, i, min(seg.first_block + sim.holder[at].resident, limit))
            elif sim.req[x].tail_slot != NONE:
                i = sim.slot[sim.req[x].tail_slot].instance
                bring_up_to_date(sim, i)
                if sim.req[x].tail_slot != NONE:
                    tail = sim.slot[sim.req[x].tail_slot]
                    _note_hit(sim, i, min(seg.first_block + tail.resident + tail.stored, limit))
        x = seg.parent


@inlined
def pool_hit_tokens(sim, r):
    """What the cluster's pool has of the arriving request ``r``, in tokens; never late."""
    return pooled_blocks(sim, r, sim.req[r].input) * sim.cluster[0].block_size


@compiled
def observe(sim, blocks_used, ended):
    """Bring every instance up to date; fill its blocks in use, and the iterations of its jump in flight that ended
    before now.
    """
    for i in range(len(sim.inst)):
        bring_up_to_date(sim, i)
        inst = sim.inst[i]
        blocks_used[i] = inst.usable - inst.blank - inst.idle
        ended[i] = max(0, started_iterations(sim, i) - 1)


@compiled
def look(sim, decode_kv, blocks_used):
    """Fill what a Python router sees of every instance beside its record: decode KV tokens and blocks in use."""
    for i in range(len(sim.inst)):
        decode_kv[i] = decode_kv_tokens(sim, i)
        blocks_used[i] = used_blocks(sim, i)
