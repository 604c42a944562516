"""Everything the kernel knows, as a few arrays of records.

One record type per thing (request, instance, segment, cache slot, ...): a field is read as ``sim.inst[i].waiting``.
Records instead of one array per field because Numba passes every array to a function as seven machine words: with
some eighty fields that made each call cost several hundred nanoseconds, and a record keeps what is used together in
one cache line.

Times are integer picoseconds. ``-1`` means none wherever an index or a time is stored.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .handle import address_table, register_state

NONE = -1
NEVER = np.iinfo(np.int64).max
LONGEST_PS = 4 * 10**18  # 46 days: leaves room for a think time and a jump below the limit of int64

POOL = -2  # in place of an instance: the slots of the cluster's pool
REJECT = -2  # in place of an instance: a router's answer that refuses the request

# Request states. A decode request that a step could not schedule is parked: out of the batch totals until it is
# scheduled again.
ABSENT, HELD, WAITING, PREFILL, DECODE, PARKED, DONE, REJECTED = range(8)

# Who can look a request's tail up while the request runs (see prefix.py).
TAIL_PRIVATE, TAIL_INHERITED, TAIL_LIVE = range(3)

# Which idle blocks go first.
EVICTIONS = ("lru", "fifo", "lfu", "gdsf", "workload-aware")
LRU, FIFO, LFU, GDSF, WORKLOAD_AWARE = range(5)

# Why `advance` returned.
REACHED, FINISHED, STALLED, ROUTE, GROW, PAUSE, TOO_LONG, BAD_CHOICE = range(8)

# All 64 bits wide: an index of another width would make Numba compile every function once per width.
Time = Count = Index = np.int64

# What the instances of a group have in common; its step times are in a row each of `by_tokens`, `by_seqs`, `pairs`.
GROUP = np.dtype(
    [
        ("max_seqs", Index),
        ("max_tokens", Index),  # in a step
        ("microbatch_tokens", Index),
        ("stages", Index),
        ("threshold", Index),
        ("reserve", Index),
        ("asynchronous", Index),
        ("watermark_blocks", Index),
        ("usable", Index),  # blocks of an instance
        ("schedule", Index),  # address of the batching policy
        ("grant", Index),  # address of its admission test
        ("prefill_step", Time),
        ("mixed_step", Time),
        ("prefill_context", Time),
        ("window_tokens", Count),
        ("host_blocks", Count),  # capacity of an instance's host memory
        ("host_block_ps", Time),  # to load a block from there
        ("pool_block_ps", Time),
        ("overlap_loads", Index),
        ("weight", np.float64),  # in the router's eyes
    ],
    align=True,
)

REQUEST = np.dtype(
    [
        ("arrival", Time),  # ps; a follow-up's is set when it falls due
        ("think", Time),  # ps after the parent's finish
        ("first_scheduled", Time),
        ("first_token", Time),
        ("finish", Time),
        ("last_token", Time),  # when it left the decode batch, until its next token ends the gap; else -1
        ("joined", Time),  # the waiting queue, last
        ("key", Count),  # place in the waiting queue or among the due arrivals: smallest (key, key2, id) first
        ("key2", Count),
        ("anchor", Count),  # decode: computed tokens = anchor + the instance's iteration number
        ("admission", Count),  # running order on the instance
        ("mark", Count),  # the step that scheduled it last
        ("input", Index),
        ("output", Index),
        ("priority", Index),
        ("rank", Index),  # in the waiting queue, if its order has ranks
        ("first_child", Index),  # follow-ups that fall due when this one finishes
        ("next_sibling", Index),
        ("heap_child", Index),
        ("heap_sibling", Index),
        ("run_prev", Index),
        ("run_next", Index),  # also chains the requests held at the router
        ("prefill_prev", Index),
        ("prefill_next", Index),
        ("state", Index),
        ("instance", Index),
        ("hit", Index),  # hit tokens at the first admission on this instance; -1 before
        ("host_hit", Index),  # then, tokens loaded from its host memory
        ("pool_hit", Index),  # and from the cluster's pool
        ("preemptions", Index),
        ("generated", Index),  # tokens produced, while not in decode
        ("computed", Index),  # tokens whose KV exists, while not in decode
        ("chunk", Index),  # tokens scheduled by step `mark`
        ("queued", Index),  # its share of the instance's queued prefill tokens
        ("private", Index),  # blocks that duplicate cached ones
        ("slot", Index),  # deepest cache slot it uses
        ("extent", Index),  # blocks it uses there
        ("in_tail", Index),  # 1: its blocks beyond `slot` are its own tail's and have no slot while it runs
        ("tail_slot", Index),  # slot of its idle private tail
        ("tail_kind", Index),
        ("entangled", Index),  # 1: a live tail that another request shares while this one decodes
    ],
    align=True,
)

INSTANCE = np.dtype(
    [
        ("group", Index),
        ("start", Time),  # of the jump in flight
        ("step_ps", Time),  # duration of its first iteration
        ("slope_ps", Time),  # by which each further iteration is longer
        ("iteration", Count),  # finished iterations of the decode batch
        ("newest_decode", Count),  # latest admission number that ever entered the decode batch
        ("planned", Count),  # iterations in the jump in flight, 0 = none
        ("grown", Count),  # of those, how many have their blocks
        ("decode_kv", Count),  # computed tokens of the decode batch at `iteration`
        ("decode_prompt", Count),  # of those, tokens of prompts
        ("parked_kv", Count),
        ("queued_prefill", Count),
        ("admissions", Count),
        ("queue_back", Count),  # FCFS keys: next at the back, last at the front
        ("queue_front", Count),
        ("matched", Index),  # 1: the keys of the queue are matches with the cache
        ("promised", Count),  # blocks or tokens that a policy keeps for the running requests
        ("ratio", Count),  # SGLang's; see sglang.py
        ("ratio_at", Count),
        ("full", Index),  # 1: nobody is admitted until somebody finishes
        ("paused", Index),  # 1: the decode batch has no part in the step in flight
        ("step_chunks", Count),  # of prefill in the jump in flight
        ("step_prefill", Count),  # their tokens
        ("prefill_only", Count),  # finished iterations: those without decode requests,
        ("mixed", Count),  # with prefill and decode,
        ("decode_only", Count),  # without prefill
        ("prefill_tokens", Count),  # computed in them
        ("decode_tokens", Count),
        ("steps", Count),
        ("blank", Count),
        ("idle", Count),  # blocks cached and used by nobody
        ("usable", Count),
        ("last_start", Time),  # of the last finished iteration
        ("last_end", Time),
        ("last_finished", Count),  # requests that finished at its end
        ("load_ps", Time),  # of the step being put together: loads from host memory and pool
        ("busy_ps", Time),
        ("hit_tokens", Count),
        ("prompt_tokens", Count),
        ("tokens", Count),  # generated
        ("preemptions", Count),
        ("finished", Count),
        ("evicted", Count),
        ("decoding", Index),  # requests in the decode batch
        ("parked", Index),
        ("returned", Index),  # 1: this step scheduled a parked request again
        ("prefilling", Index),
        ("entangled", Index),
        ("running", Index),
        ("waiting", Index),
        ("queue_root", Index),
        ("run_head", Index),
        ("run_tail", Index),
        ("prefill_head", Index),
        ("prefill_tail", Index),
        ("due", Index),  # completions in its heap
        ("queued_start", Index),  # 1: on the list of instances to start a step at this instant
        ("accepting", Index),
        ("frozen", Index),  # 1: it hangs, its iteration in flight never ends
        ("frees", Count),  # requests that gave up their blocks; stamps uses (policies other than LRU, from here on)
        ("last_score", Count),  # of the last victim
        ("stock_time", Time),  # what it knew when it freed a request last (see reuse.py)
        ("stock_life", Time),
        ("round_start", Time),
        ("last_round", Time),  # how long it took
        ("round_blocks", Count),  # that came in since
    ],
    align=True,
)

SEGMENT = np.dtype(
    [
        ("parent", Index),  # nearest ancestor that owns a block
        ("first_block", Index),
        ("end_block", Index),
        ("shared", Index),  # 1: requests other than its owner pass through it
        ("holders", Index),  # its vector of holders in the pool: offset, length, size class
        ("holder_count", Index),
        ("holder_class", Index),
        ("pool_slot", Index),  # the pool's slot
    ],
    align=True,
)

SLOT = np.dtype(
    [
        ("segment", Index),
        ("instance", Index),  # or POOL
        ("parent", Index),  # slot of the parent segment on the same instance
        ("place", Index),  # index in the segment's holder vector; also links free slots
        ("resident", Index),  # leading blocks cached on the GPU
        ("stored", Index),  # blocks after those that host memory holds, or the pool
        ("in_use", Index),  # of those, how many some running request uses or keeps
        ("busy", Index),  # child slots in use + requests whose extent is the whole segment
        ("partial", Index),  # requests whose extent is a part of the segment
        ("piece", Index),  # shallowest piece
        ("stored_piece", Index),  # of those stored
        ("children", Index),  # slots of child segments on the same instance with blocks on the GPU
        ("waiting", Index),  # its piece that waits to be evicted (policies other than LRU)
    ],
    align=True,
)

PIECE = np.dtype(
    [
        ("slot", Index),
        ("low", Index),  # blocks [low, high) of the slot, released together
        ("high", Index),
        ("deeper", Index),  # next piece of the slot; also links free pieces
        ("lru_prev", Index),
        ("lru_next", Index),
    ],
    align=True,
)

# One of an instance's jumps, as a trace of the run shows it.
JUMP = np.dtype(
    [
        ("instance", Index),
        ("start", Time),
        ("end", Time),
        ("iterations", Count),  # that ended
        ("failed", Index),  # 1: the instance failed at `end`, and lost the iteration in flight
        ("decodes", Count),  # decode requests in each iteration
        ("chunks", Count),  # of prefill
        ("prefill_tokens", Count),
        ("running", Count),  # requests
        ("waiting", Count),  # at `end`, as well as
        ("blocks_used", Count),
    ],
    align=True,
)

# Idle blocks in the order in which they go (line.py), and of a tier below the GPU what it holds and did.
LINE = np.dtype(
    [
        ("oldest", Index),  # pieces
        ("newest", Index),
        ("blocks", Count),
        ("capacity", Count),
        ("written", Count),
        ("loaded", Count),
    ],
    align=True,
)

# What policies other than LRU know of a piece. Apart from it, so that LRU need not have it in its cache lines.
RANK = np.dtype(
    [
        ("score", Count),  # those of lowest (score, stamp) go first
        ("stamp", Count),  # of the last use
        ("used", Time),  # then
        ("uses", Count),
        ("queue", Index),
        ("child", Index),  # links of the queue's heap
        ("sibling", Index),
        ("back", Index),
    ],
    align=True,
)

# ``resident`` counts what is in host memory too.
HOLDER = np.dtype([("instance", Index), ("resident", Index), ("slot", Index)], align=True)

# What workload-aware eviction learns from.
LAST_USE = np.dtype([("reuse_class", Index), ("finish", Time)], align=True)  # of the last request to finish
_LAW = [("uses", Count), ("reuses", Count), ("wait_s", Count), ("wait_rest_ps", Count)]
LAW = np.dtype(_LAW, align=True)  # how blocks of a class are used again: wait_s seconds + wait_rest_ps in all
QUEUE = np.dtype([("root", Index), *_LAW], align=True)  # pieces that wait, and the law as the instance knows it

COMPLETION = np.dtype([("key", Count), ("request", Index)], align=True)

# One decision of the router, in its log.
ROUTED = np.dtype([("at", Time), ("request", Index), ("instance", Index), ("new_tokens", Count)], align=True)

# What the router sent to an instance: within its window; and when last a request without a hit (0 = never).
# Its credit is what round-robin by weight owes it.
RECENT = np.dtype(
    [("requests", Count), ("new_tokens", Count), ("without_hit", Time), ("credit", np.float64)], align=True
)

# The requests that pass through a segment: how many the window has, how many in a row preferred the instances that hold
# it, and whether it is too hot for them.
CROWD = np.dtype([("requests", Count), ("streak", Count), ("alarmed", Index)], align=True)

# The router's own prefix index (prefix_index.py): a segment that an instance has, in its view.
NOTE = np.dtype(
    [
        ("segment", Index),
        ("instance", Index),
        ("blocks", Index),  # leading ones of the segment
        ("at", Time),  # last sent
        ("next", Index),  # note of the same segment; also links free notes
        ("older", Index),  # note of the same instance
        ("newer", Index),
    ],
    align=True,
)
NOTED = np.dtype([("oldest", Index), ("newest", Index), ("blocks", Count)], align=True)  # the notes of an instance

# How often a group of indicators is refreshed; 0 = always fresh.
SIGNAL = np.dtype([("every", Time), ("next", Time)], align=True)
REQUEST_SIGNALS, TOKEN_SIGNALS, KV_SIGNALS, HIT_SIGNALS = range(4)

# Where the router looks hits up: in the engines' caches, in notes of what it sent, in a copy of the caches.
CACHES, SENT, COPIED = range(3)

BY_TOKENS = np.dtype([("linear", Time), ("prefill", Time), ("prefill_pair", Time)], align=True)
BY_SEQUENCES = np.dtype(
    [("sequence", Time), ("decode", Time), ("decode_kv", Time), ("decode_window", Time), ("decode_generated", Time)],
    align=True,
)

CLUSTER = np.dtype(
    [
        ("clock", Time),
        ("warm_up", Time),  # requests that arrive before are not measured
        ("random", np.uint64),  # splitmix64 state of the router
        ("choices", Count),
        ("events", Count),
        ("due_root", Index),  # heap of follow-ups and of requests given back
        ("next_root", Index),  # position in the order of root arrivals
        ("held_head", Index),
        ("held_tail", Index),
        ("asked", Index),  # request that waits for a Python router's answer
        ("jumps_from", Time),  # jumps that overlap [jumps_from, jumps_until) are noted
        ("jumps_until", Time),
        ("noted_jumps", Count),
        ("starts", Index),
        ("accepting", Index),
        ("finished", Index),
        ("rejected", Index),
        ("free_slot", Index),
        ("used_slots", Index),
        ("free_piece", Index),
        ("used_pieces", Index),
        ("holders_end", Index),
        ("largest_class", Index),
        ("most_new_slots", Index),  # that a single event may need
        ("block_size", Index),
        ("most_usable", Index),  # blocks of an instance
        ("caching", Index),
        ("eviction", Index),
        ("ranked", Index),
        ("by_match", Index),
        ("weighted", Index),  # 1: the groups' weights differ
        ("evict", Index),  # address of `lru.evict`
        ("refresh_at", Time),  # next refresh of an indicator that the router sees late; NEVER: it sees all at once
        ("logged", Count),  # entries of the router's log
        ("expired", Count),  # of those, how many have left its window
        ("index", Index),  # which prefix index the router goes by
        ("note_life", Time),  # of its entries
        ("note_blocks", Count),  # that it keeps for an instance
        ("free_note", Index),
        ("used_notes", Index),
        ("most_new_notes", Index),  # that a single arrival may need
    ],
    align=True,
)


def _array(element: Any, dimensions: int = 1) -> Any:
    return field(metadata={"element": np.dtype(element), "dimensions": dimensions})


@dataclass(frozen=True, eq=False)
class Sim:
    """The whole state of a run; every kernel function takes it as its first argument.

    Compiled code sees it through the table at ``address`` (see handle.py). A larger array needs a new `Sim`
    (`dataclasses.replace`).
    """

    cluster: np.ndarray = _array(CLUSTER)  # [1]
    group: np.ndarray = _array(GROUP)  # [groups]
    req: np.ndarray = _array(REQUEST)  # [requests]
    inst: np.ndarray = _array(INSTANCE)  # [instances]
    shown: np.ndarray = _array(INSTANCE)  # [instances]: what the router sees of `inst`; the same array if all is fresh
    seg: np.ndarray = _array(SEGMENT)  # [segments]; segment r < requests is request r's own tail
    slot: np.ndarray = _array(SLOT)  # SLOT pool
    piece: np.ndarray = _array(PIECE)  # PIECE pool
    line: np.ndarray = _array(LINE)  # [1 + 2 instances]: of the pool; of the GPU and the host memory of each instance
    rank: np.ndarray = _array(RANK)  # [pieces]; none under LRU
    holder: np.ndarray = _array(HOLDER)  # HOLDER pool
    queue: np.ndarray = _array(QUEUE, 2)  # [instances, reuse classes]; policies that go by no class have one queue
    law: np.ndarray = _array(LAW)  # [reuse classes]
    reuse_class: np.ndarray = _array(Index)  # [requests]
    last_use: np.ndarray = _array(LAST_USE)  # [segments]; only under workload-aware eviction
    free_holders: np.ndarray = _array(Index)  # [32]: per size class the first free vector
    residue: np.ndarray = _array(Count, 2)  # [instances, block_size]: decode requests by anchor modulo block size
    heap: np.ndarray = _array(COMPLETION, 2)  # [instances, largest max_num_seqs]
    tree: np.ndarray = _array(Index)  # [2 * power of two]: tournament over `when`
    when: np.ndarray = _array(Time)  # [instances]: end of the jump in flight
    starts: np.ndarray = _array(Index)  # [instances]: to start a step at this instant, the first one last
    accepting: np.ndarray = _array(Index)  # [instances]: those that accept requests, in order
    hits: np.ndarray = _array(Count)  # [instances]: hit tokens of the request being routed
    score: np.ndarray = _array(np.float64)  # [instances]: scratch of the router
    option: np.ndarray = _array(np.float64)  # [options of the policy]
    tally: np.ndarray = _array(Count)  # [tallies of the policy]: what it counts for the summary
    session: np.ndarray = _array(Index)  # [requests]: session, from 0
    client: np.ndarray = _array(Index)  # [requests]
    home: np.ndarray = _array(Index)  # [sessions]: where the router sent it last
    log: np.ndarray = _array(ROUTED)  # the router's decisions in order, if its policy keeps a log
    recent: np.ndarray = _array(RECENT)  # [instances]
    crowd: np.ndarray = _array(CROWD)  # [segments], for a policy that watches them
    note: np.ndarray = _array(NOTE)  # NOTE pool
    first_note: np.ndarray = _array(Index)  # [segments], with a prefix index of the router's own
    noted: np.ndarray = _array(NOTED)  # [instances]
    signal: np.ndarray = _array(SIGNAL)  # [4]
    finishing: np.ndarray = _array(Index)  # [largest max_num_seqs]: scratch of the end of a step
    roots: np.ndarray = _array(Index)  # [roots]: root requests by (arrival, id)
    by_tokens: np.ndarray = _array(BY_TOKENS, 2)  # [groups, most tokens of a step + 1]
    by_seqs: np.ndarray = _array(BY_SEQUENCES, 2)  # [groups, largest max_num_seqs + 1]
    pairs: np.ndarray = _array(Count, 2)  # [groups, longest request + 1]
    jump: np.ndarray = _array(JUMP)  # those noted, in the order of their ends
    itl_edges_ps: np.ndarray = _array(Time)  # [bins + 1]
    itl_counts: np.ndarray = _array(Count, 2)  # [ITL classes, bins]
    itl_class: np.ndarray = _array(Index)  # [requests]
    decoding_of: np.ndarray = _array(Index, 2)  # [instances, ITL classes]: requests in the decode batch, if several

    def __post_init__(self) -> None:
        object.__setattr__(self, "_table", address_table([getattr(self, one.name) for one in fields(self)]))

    @property
    def address(self) -> int:
        return int(self._table.ctypes.data)  # type: ignore[attr-defined]


SIM_TYPE = register_state(Sim, {one.name: (one.metadata["element"], one.metadata["dimensions"]) for one in fields(Sim)})
