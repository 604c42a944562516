"""The router's own prefix index: what it sent where, or a copy of what the engines cached a while ago.

A note says that an instance has a segment. The notes of what was sent to an instance form a list by last use, a
prefix newer than what follows it; they expire after a time, and the oldest go when they are too many. A router-side
tree in the way of SGLang's `cache_aware` and of Dynamo's `--no-kv-events`.
"""

from .jit import compiled, inlined
from .state import COPIED, NONE, POOL


@inlined
def _unlink(sim, n):
    note, noted = sim.note[n], sim.noted[sim.note[n].instance]
    if note.older == NONE:
        noted.oldest = note.newer
    else:
        sim.note[note.older].newer = note.newer
    if note.newer == NONE:
        noted.newest = note.older
    else:
        sim.note[note.newer].older = note.older


@inlined
def _link_newest(sim, n):
    note, noted = sim.note[n], sim.noted[sim.note[n].instance]
    note.older = noted.newest
    note.newer = NONE
    if noted.newest == NONE:
        noted.oldest = n
    else:
        sim.note[noted.newest].newer = n
    noted.newest = n


@compiled
def _drop_oldest(sim, i):
    n = sim.noted[i].oldest
    note = sim.note[n]
    _unlink(sim, n)
    sim.noted[i].blocks -= note.blocks
    at = sim.first_note[note.segment]
    if at == n:
        sim.first_note[note.segment] = note.next
    else:
        while sim.note[at].next != n:
            at = sim.note[at].next
        sim.note[at].next = note.next
    cluster = sim.cluster[0]
    note.next = cluster.free_note
    cluster.free_note = n
    cluster.used_notes -= 1


@compiled
def _note_segment(sim, x, i, blocks):
    """The first ``blocks`` blocks of segment ``x`` go to instance ``i`` now."""
    cluster = sim.cluster[0]
    n = sim.first_note[x]
    while n != NONE and sim.note[n].instance != i:
        n = sim.note[n].next
    if n == NONE:
        n = cluster.free_note
        cluster.free_note = sim.note[n].next
        cluster.used_notes += 1
        note = sim.note[n]
        note.segment = x
        note.instance = i
        note.blocks = 0
        note.next = sim.first_note[x]
        sim.first_note[x] = n
    else:
        _unlink(sim, n)
    note = sim.note[n]
    note.at = cluster.clock
    if blocks > note.blocks:
        sim.noted[i].blocks += blocks - note.blocks
        note.blocks = blocks
    _link_newest(sim, n)


@inlined
def _oldest_must_go(sim, i):
    cluster, noted = sim.cluster[0], sim.noted[i]
    return noted.blocks > cluster.note_blocks or sim.note[noted.oldest].at < cluster.clock - cluster.note_life


@compiled
def note_prefix(sim, r, i):
    """Request ``r`` goes to instance ``i``, which will cache its prompt."""
    cluster = sim.cluster[0]
    full = sim.req[r].input // cluster.block_size
    x = r
    while x != NONE:
        blocks = min(full, sim.seg[x].end_block) - sim.seg[x].first_block
        if blocks > 0:
            _note_segment(sim, x, i, blocks)
        x = sim.seg[x].parent
    while sim.noted[i].oldest != NONE and _oldest_must_go(sim, i):
        _drop_oldest(sim, i)


@compiled
def noted_hits(sim, r):
    """Fill ``sim.hits`` with what the notes promise request ``r`` on each instance, in tokens."""
    cluster = sim.cluster[0]
    limit = (sim.req[r].input - 1) // cluster.block_size
    x = r
    while x != NONE:
        first = sim.seg[x].first_block
        n = sim.first_note[x] if first < limit else NONE
        while n != NONE:
            note = sim.note[n]
            if sim.hits[note.instance] == 0 and note.at >= cluster.clock - cluster.note_life:
                sim.hits[note.instance] = min(first + note.blocks, limit) * cluster.block_size
            n = note.next
        x = sim.seg[x].parent


@compiled
def forget_notes(sim, i):
    """Instance ``i`` lost its cache."""
    while sim.noted[i].oldest != NONE:
        _drop_oldest(sim, i)


@inlined
def copy_fits(sim):
    """Whether there are enough notes for a copy of the caches, if the router goes by one."""
    return sim.cluster[0].index != COPIED or len(sim.note) >= len(sim.slot)


@compiled
def copy_caches(sim):
    """From now on the notes say what the engines cache at this instant: note s is slot s."""
    for n in range(len(sim.note)):
        if sim.note[n].segment != NONE:
            sim.first_note[sim.note[n].segment] = NONE
            sim.note[n].segment = NONE
    for s in range(len(sim.slot)):
        slot, note = sim.slot[s], sim.note[s]
        if slot.segment != NONE and slot.instance != POOL:
            note.segment = slot.segment
            note.instance = slot.instance
            note.blocks = slot.resident + slot.stored
            note.at = sim.cluster[0].clock
            note.next = sim.first_note[slot.segment]
            sim.first_note[slot.segment] = s
