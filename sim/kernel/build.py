"""Laying out the kernel's state before a run, and enlarging it during one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from . import orca, sglang, state, vllm  # noqa: F401 (the policies register themselves)
from .batching import BATCHINGS
from .indirect import compiled_address
from .jit import allocating
from .lru import evict
from .prefix import deepest_path, grow_forest, lay_out_segments, tail_kinds
from .record import itl_edges_ps
from .router_memory import RouterMemory, router_arrays, set_router_limits
from .state import NEVER, NONE, Sim
from .steptime import StepTable
from .waiting import QUEUES, ranks


class Requests(NamedTuple):
    """What the kernel needs of a workload, a column each; row index = request id. See `workloads.Workload`."""

    arrival_ps: np.ndarray  # ignored for follow-ups
    input_tokens: np.ndarray
    output_tokens: np.ndarray
    priority: np.ndarray
    parent: np.ndarray  # -1: a root, else the request after whose finish + think time this one arrives
    think_ps: np.ndarray
    prefix_request: np.ndarray
    prefix_tokens: np.ndarray
    reuse_class: np.ndarray  # the law of reuse that its blocks follow, for workload-aware eviction; from 0
    itl_class: np.ndarray  # whose histogram of inter-token latencies counts it; from 0


class Engine(NamedTuple):
    """Options of an instance's engine (see docs/engine-rules.md)."""

    num_blocks: int  # KV blocks, one of them reserved
    block_size: int = 16  # tokens a KV block
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192  # in each microbatch of a step
    long_prefill_token_threshold: int = 0
    prefix_caching: bool = True
    reserve_full_sequence: bool = True
    watermark: float = 0.0  # fraction of the blocks that admissions leave free
    queue: str = "fcfs"
    eviction: str = "lru"
    async_scheduling: bool = True  # a step is scheduled while the one before it runs
    stages: int = 1  # of the pipeline: a step is a round of as many microbatches
    batching: str = "vllm"
    chunk_tokens: int = 512  # in each microbatch, with Sarathi
    host_blocks: int = 0  # capacity of the instance's host memory; 0 = none
    host_block_ps: int = 0  # to load a block from there
    pool_blocks: int = 0  # capacity of the cluster's pool; 0 = none
    pool_block_ps: int = 0
    overlap_loads: bool = True  # a step loads while it computes

    @property
    def usable_blocks(self) -> int:
        return self.num_blocks - 1

    @property
    def microbatch_tokens(self) -> int:
        """Token budget of a microbatch."""
        return int(getattr(self, BATCHINGS[self.batching].budget))

    @property
    def step_tokens(self) -> int:
        """Token budget of a step."""
        return self.stages * self.microbatch_tokens

    @property
    def watermark_blocks(self) -> int:
        return int(self.watermark * self.usable_blocks)


class Group(NamedTuple):
    """Like instances: their engine, its step times, and how many they are before the first event."""

    engine: Engine
    steps: StepTable
    instances: int
    weight: float = 1.0  # the share of the load that an instance should have, relative to those of other groups
    name: str = ""  # in messages and results
    gpus: int = 1  # of an instance


def build(
    requests: Requests,
    groups: Sequence[Group],
    router_seed: int,
    memory: RouterMemory = RouterMemory(),  # noqa: B008 - immutable
    warm_up_ps: int = 0,
) -> Sim:
    """The state before the first event, instances group by group. ``router_seed`` is the 64-bit start of the router's
    random stream.

    All groups have the block size, prefix caching, eviction and queue of the first. The inter-token latencies of
    requests that arrive before ``warm_up_ps`` have a histogram of their own, the last.
    """
    engines = [group.engine for group in groups]
    engine = engines[0]
    count = len(requests.input_tokens)
    shares = requests.prefix_request if engine.prefix_caching else np.full(count, NONE)
    parent, end = grow_forest(
        requests.input_tokens.astype(np.int64),
        requests.output_tokens.astype(np.int64),
        shares.astype(np.int64),
        requests.prefix_tokens.astype(np.int64),
    )
    seg = np.zeros(len(parent), state.SEGMENT)
    lay_out_segments(seg, count, parent, end, engine.block_size)

    seats = max(1, min(max(engine.max_num_seqs for engine in engines), count))
    cluster = np.zeros(1, state.CLUSTER)
    for name in ("due_root", "held_head", "held_tail", "asked", "free_slot", "free_piece"):
        cluster[name] = NONE
    cluster["random"] = np.uint64(router_seed)
    cluster["warm_up"] = warm_up_ps
    cluster["block_size"] = engine.block_size
    cluster["most_usable"] = max(engine.usable_blocks for engine in engines)
    cluster["caching"] = engine.prefix_caching
    cluster["eviction"] = state.EVICTIONS.index(engine.eviction)
    queue = QUEUES[engine.queue]
    cluster["ranked"] = queue.rank is not None
    cluster["by_match"] = queue.by_match
    cluster["weighted"] = len({group.weight for group in groups}) > 1
    # Each new slot owns a newly full block of some chunk, or is the tail of a request that finishes or is preempted.
    # Each of those requests may also split a piece.
    most_tokens = max(engine.step_tokens for engine in engines)
    cluster["most_new_slots"] = most_tokens // engine.block_size + 3 * seats + 8
    cluster["evict"] = compiled_address(evict, 2)
    if any(engine.host_blocks + engine.pool_blocks for engine in engines):
        # Loads and stores make a slot of each segment of a path at most, and as many blocks are on the GPU; where a
        # request takes blocks, a piece of what goes below may be cut.
        cluster["most_new_slots"] += min(2 * seats * deepest_path(seg), int(cluster["most_usable"][0])) + 2 * seats

    set_router_limits(cluster, memory, seg)

    req = _request_records(
        requests, ranks(queue, requests), tail_kinds(count, parent, requests.parent.astype(np.int64))
    )
    by_class = engine.eviction == "workload-aware"
    queues = int(requests.reuse_class.max(initial=0)) + 1 if by_class else 1
    last_use = np.full(len(seg) if by_class else 0, NONE, state.LAST_USE)
    edges = itl_edges_ps()
    itl_classes = int(requests.itl_class.max(initial=0)) + 1 + (warm_up_ps > 0)
    early = (requests.parent < 0) & (requests.arrival_ps < warm_up_ps)
    roots = np.flatnonzero(requests.parent < 0)
    order = roots[np.argsort(requests.arrival_ps[roots], kind="stable")]
    inst = np.zeros(0, state.INSTANCE)
    sim = Sim(
        cluster=cluster,
        group=np.concatenate([_group_record(group) for group in groups]),
        req=req,
        inst=inst,
        shown=inst.copy() if any(memory.periods_ps) else inst,
        seg=seg,
        slot=np.zeros(0, state.SLOT),
        piece=np.zeros(0, state.PIECE),
        line=_lines([engine.pool_blocks]),
        rank=np.zeros(0, state.RANK),
        holder=np.zeros(0, state.HOLDER),
        queue=np.zeros((0, queues), state.QUEUE),
        law=np.zeros(queues, state.LAW),
        reuse_class=requests.reuse_class.astype(np.int64),
        last_use=last_use,
        free_holders=np.full(32, NONE, np.int64),
        residue=np.zeros((0, engine.block_size), np.int64),
        heap=np.zeros((0, seats), state.COMPLETION),
        tree=np.zeros(0, np.int64),
        when=np.zeros(0, np.int64),
        starts=np.zeros(0, np.int64),
        accepting=np.zeros(0, np.int64),
        hits=np.zeros(0, np.int64),
        score=np.zeros(0, np.float64),
        **router_arrays(memory, count, len(seg)),
        finishing=np.zeros(seats, np.int64),
        roots=order.astype(np.int64),
        **_step_tables([group.steps for group in groups]),
        jump=np.zeros(0, state.JUMP),
        itl_edges_ps=edges,
        itl_counts=np.zeros((itl_classes, len(edges) - 1), np.int64),
        itl_class=np.where(early, itl_classes - 1, requests.itl_class).astype(np.int64),
        decoding_of=np.zeros((0, itl_classes), np.int64),
    )
    for at, group in enumerate(groups):
        sim = add_instances(sim, at, group.instances)
    return grow_pools(sim)


def _group_record(group: Group) -> np.ndarray:
    engine, steps, policy = group.engine, group.steps, BATCHINGS[group.engine.batching]
    record = np.zeros(1, state.GROUP)
    record["max_seqs"] = engine.max_num_seqs
    record["max_tokens"] = engine.step_tokens
    record["microbatch_tokens"] = engine.microbatch_tokens
    record["stages"] = engine.stages
    record["threshold"] = engine.long_prefill_token_threshold
    record["reserve"] = engine.reserve_full_sequence
    record["asynchronous"] = engine.async_scheduling
    record["watermark_blocks"] = engine.watermark_blocks
    record["usable"] = engine.usable_blocks
    record["schedule"] = compiled_address(policy.schedule, 1)
    record["grant"] = compiled_address(policy.grant, 4)
    record["prefill_step"] = steps.prefill_step_ps
    record["mixed_step"] = steps.mixed_step_ps
    record["prefill_context"] = steps.prefill_context_ps
    record["window_tokens"] = steps.window_tokens
    record["host_blocks"] = engine.host_blocks
    record["host_block_ps"] = engine.host_block_ps
    record["pool_block_ps"] = engine.pool_block_ps
    record["overlap_loads"] = engine.overlap_loads
    record["weight"] = group.weight
    return record


def _step_tables(steps: list[StepTable]) -> dict[str, np.ndarray]:
    """A row a group; what is beyond the longest request in all of them is left out of the pairs."""
    positions = min(len(one.pairs) for one in steps)
    return {
        "by_tokens": _rows(state.BY_TOKENS, [(one.linear_ps, one.prefill_ps, one.prefill_pair) for one in steps]),
        "by_seqs": _rows(
            state.BY_SEQUENCES,
            [
                (one.sequence_ps, one.decode_ps, one.decode_kv_ps, one.decode_window_ps, one.decode_generated_ps)
                for one in steps
            ],
        ),
        "pairs": np.stack([one.pairs[:positions] for one in steps]).astype(np.int64, copy=False),
    }


def _rows(kind: np.dtype, groups: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Tables of records from their columns, as many rows as tables; shorter ones end in zeros."""
    rows = np.zeros((len(groups), max(len(columns[0]) for columns in groups)), kind)
    for row, columns in zip(rows, groups, strict=True):
        for name, column in zip(kind.names or (), columns, strict=True):
            row[name][: len(column)] = column
    return rows


_NONE_AT_FIRST = (
    *("arrival", "first_scheduled", "first_token", "finish", "last_token", "mark", "first_child", "next_sibling"),
    *("heap_child", "heap_sibling", "run_prev", "run_next", "prefill_prev", "prefill_next"),
    *("instance", "hit", "slot", "tail_slot"),
)


def _request_records(requests: Requests, rank: np.ndarray, tail_kind: np.ndarray) -> np.ndarray:
    blank = np.zeros(1, state.REQUEST)
    for name in _NONE_AT_FIRST:
        blank[name] = NONE
    req = np.repeat(blank, len(requests.input_tokens))
    _fill_requests(req, *(column.astype(np.int64, copy=False) for column in (*requests[:6], rank, tail_kind)))
    return req


@allocating
def _fill_requests(req, arrival_ps, input_tokens, output_tokens, priority, parent, think_ps, rank, tail_kind):
    """Fill record by record: a record is several cache lines, so column by column would fetch each of them many
    times.
    """
    for r in range(len(req) - 1, -1, -1):  # backwards, so that each parent's follow-ups are chained in order
        one = req[r]
        one.input = input_tokens[r]
        one.output = output_tokens[r]
        one.priority = priority[r]
        one.rank = rank[r]
        one.think = think_ps[r]
        one.tail_kind = tail_kind[r]
        if parent[r] < 0:
            one.arrival = arrival_ps[r]
        else:
            one.next_sibling = req[parent[r]].first_child
            req[parent[r]].first_child = r


def add_instances(sim: Sim, group: int, count: int) -> Sim:
    """``count`` further instances of a group, empty and not accepting yet. The arrays are new: use the returned state
    from here on.
    """
    inst = np.zeros(count, state.INSTANCE)
    for name in ("queue_root", "run_head", "run_tail", "prefill_head", "prefill_tail"):
        inst[name] = NONE
    inst["newest_decode"] = NONE
    inst["last_end"] = NONE
    inst["round_start"] = NONE
    inst["group"] = group
    inst["usable"] = inst["blank"] = sim.group["usable"][group]
    queue = np.zeros((count, sim.queue.shape[1]), state.QUEUE)
    queue["root"] = NONE
    total = len(sim.inst) + count
    when = np.concatenate((sim.when, np.full(count, NEVER)))
    all_instances = np.concatenate((sim.inst, inst))
    return replace(
        sim,
        inst=all_instances,
        shown=all_instances if sim.shown is sim.inst else np.concatenate((sim.shown, inst)),
        line=np.concatenate((sim.line, _lines([0, int(sim.group["host_blocks"][group])] * count))),
        residue=np.concatenate((sim.residue, np.zeros((count, sim.residue.shape[1]), np.int64))),
        queue=np.concatenate((sim.queue, queue)),
        heap=np.concatenate((sim.heap, np.zeros((count, sim.heap.shape[1]), state.COMPLETION))),
        decoding_of=np.concatenate((sim.decoding_of, np.zeros((count, sim.decoding_of.shape[1]), np.int64))),
        when=when,
        tree=_tournament(when),
        starts=_padded(sim.starts, total),
        accepting=_padded(sim.accepting, total),
        hits=_padded(sim.hits, total),
        score=_padded(sim.score, total),
        recent=_padded(sim.recent, total),
        noted=np.concatenate((sim.noted, np.array([(NONE, NONE, 0)] * count, state.NOTED))),
    )


def _lines(capacities: list[int]) -> np.ndarray:
    """Empty lines, in which ``capacities`` blocks fit."""
    line = np.zeros(len(capacities), state.LINE)
    line["oldest"] = line["newest"] = NONE
    line["capacity"] = capacities
    return line


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    wider = np.zeros(size, array.dtype)
    wider[: len(array)] = array
    return wider


def _tournament(when: np.ndarray) -> np.ndarray:
    """Winner tree over ``when``: leaves in the second half, the winner at index 1."""
    leaves = 1 << max(1, (len(when) - 1).bit_length())
    tree = np.full(2 * leaves, NONE, np.int64)
    tree[leaves : leaves + len(when)] = np.arange(len(when))
    for node in range(leaves - 1, 0, -1):
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if right == NONE or when[left] <= when[right] else right
    return tree


def grow_pools(sim: Sim) -> Sim:
    """Enlarge whichever pool may not outlast another event. The arrays are new: use the returned state from here on."""
    cluster = sim.cluster[0]
    margin = int(cluster["most_new_slots"])
    slots = int(cluster["used_slots"])
    if len(sim.slot) - slots < margin:
        slot, cluster["free_slot"] = _grown_pool(sim.slot, "place", int(cluster["free_slot"]), 2 * slots + 2 * margin)
        slot["segment"][len(sim.slot) :] = NONE
        sim = replace(sim, slot=slot)
    pieces = int(cluster["used_pieces"])
    held = margin + min(slots, int(cluster["most_usable"]))
    if len(sim.piece) - pieces < held:
        piece, cluster["free_piece"] = _grown_pool(
            sim.piece, "deeper", int(cluster["free_piece"]), 2 * pieces + 2 * held
        )
        ranks = 0 if cluster["eviction"] == state.LRU else len(piece)
        sim = replace(sim, piece=piece, rank=_padded(sim.rank, ranks))
    holders = int(cluster["holders_end"])
    vectors = margin << (int(cluster["largest_class"]) + 1)
    if len(sim.holder) - holders < vectors:
        sim = replace(sim, holder=_padded(sim.holder, 2 * holders + 2 * vectors))
    notes, new_notes = int(cluster["used_notes"]), int(cluster["most_new_notes"])
    if len(sim.note) - notes < new_notes:
        note, cluster["free_note"] = _grown_pool(
            sim.note, "next", int(cluster["free_note"]), 2 * notes + 64 * new_notes
        )
        sim = replace(sim, note=note)
    if cluster["index"] == state.COPIED and len(sim.note) < len(sim.slot):
        note = _padded(sim.note, len(sim.slot))
        note["segment"][len(sim.note) :] = NONE
        sim = replace(sim, note=note)
    if len(sim.log) == cluster["logged"]:
        sim = replace(sim, log=_padded(sim.log, 2 * len(sim.log)))
    if len(sim.jump) == cluster["noted_jumps"]:
        sim = replace(sim, jump=_padded(sim.jump, 2 * len(sim.jump) + 1))
    return sim


def _grown_pool(pool: np.ndarray, link: str, free: int, size: int) -> tuple[np.ndarray, int]:
    """A larger pool with the new records chained before the old free ones; and the new first free record."""
    wider = _padded(pool, size)
    wider[link][len(pool) :] = np.arange(len(pool) + 1, size + 1)
    wider[link][-1] = free
    return wider, len(pool)
