"""Tiny random scenarios, designed to be nasty: few KV blocks, many ties, shared prefixes and failures."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from .batching import BATCHINGS
from .cluster import Operation
from .engine import Engine, Group
from .eviction import POLICIES as EVICTIONS
from .queues import ORDERS
from .request import Row
from .routers import POLICIES, REJECT, View
from .steptime import StepTables


@dataclass(frozen=True)
class Scenario:
    """The arguments of `run`."""

    rows: list[Row]
    groups: list[Group]
    router: str | Callable[[int, View], int]
    router_seed: int
    operations: list[Operation]

    @property
    def instances(self) -> int:
        """How many there are at time 0."""
        return sum(group.instances for group in self.groups)

    def with_groups(self, change: Callable[[Group], Group]) -> "Scenario":
        return replace(self, groups=[change(group) for group in self.groups])

    def with_engines(self, **options: Any) -> "Scenario":
        """The same with other options in every group's engine."""
        return self.with_groups(lambda group: replace(group, engine=replace(group.engine, **options)))


def python_router(request_index: int, view: View) -> int:
    """A router that depends on every indicator; the smallest index wins ties."""
    score = (
        5 * view.queued_requests
        + 2 * view.running_requests
        + (1 + request_index % 3) * view.batch_size
        + view.queued_prefill_tokens
        - 2 * np.maximum(view.hit_tokens, view.pool_hit_tokens // 2)
        + view.new_tokens
        + view.decode_kv_tokens
        + np.rint(1000 * view.kv_used_fraction).astype(np.int64) // 100
        - 2 * view.weight
    )
    return int(np.argmin(np.where(view.healthy, score, np.inf)))


def choosy_router(request_index: int, view: View) -> int:
    """The same, but every third request is refused where a batch is waiting."""
    if request_index % 3 == 0 and view.batch_size.max() > 1:
        return REJECT
    return python_router(request_index, view)


ROUTERS: list[str | Callable[[int, View], int]] = [*POLICIES, python_router, choosy_router]


@st.composite
def scenarios(draw: st.DrawFn, weighted: bool = False) -> Scenario:
    """Hypothesis draws the sizes and the switches, which shrink; a drawn seed fills in the details.

    Groups have different weights, which some routers refuse, only if `weighted`.
    """
    random = Random(draw(st.integers(0, 2**32 - 1)))
    row_count = draw(st.integers(2, 40))
    longest_tokens = draw(st.integers(2, 64))
    span_ticks = draw(st.sampled_from([0, 10, 100, 400]))
    # Everything is a small multiple of the tick, so that operations, arrivals and step ends often coincide.
    tick_ps = draw(st.sampled_from([1, 1000]))

    rows = _rows(
        random,
        row_count,
        longest_tokens,
        sharing=draw(st.sampled_from([0.0, 0.5, 0.9])),
        closed_loop=draw(st.sampled_from([0.0, 0.5, 0.9])),
        priorities=draw(st.integers(1, 3)),
        reuse_classes=draw(st.integers(1, 4)),
        itl_classes=draw(st.integers(1, 3)),
        span_ticks=span_ticks,
        tick_ps=tick_ps,
    )
    groups = draw(_groups(random, rows, longest_tokens, tick_ps, weighted))
    operation_count = draw(st.integers(0, 12))
    return Scenario(
        rows=rows,
        groups=groups,
        router=draw(st.sampled_from(ROUTERS)),
        router_seed=draw(st.integers(0, 2**64 - 1)),
        operations=_operations(random, operation_count, groups, 10 * row_count + span_ticks, tick_ps),
    )


@st.composite
def _groups(
    draw: st.DrawFn, random: Random, rows: list[Row], longest_tokens: int, tick_ps: int, weighted: bool
) -> list[Group]:
    """One to three groups, at least one of them with instances."""
    shared: dict[str, Any] = {
        "block_size": draw(st.integers(1, 8)),
        "prefix_caching": draw(st.sampled_from([True, True, True, False])),
        "queue": draw(st.sampled_from(ORDERS)),
        "eviction": draw(st.sampled_from(EVICTIONS)),
    }
    if shared["prefix_caching"] and draw(st.booleans()):
        most_tokens = max(row.input_tokens + row.output_tokens for row in rows)
        shared["pool_blocks"] = draw(st.integers(1, 3 * (most_tokens // shared["block_size"] + 1)))
    groups: list[Group] = []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        engine = _engine(draw, rows, tick_ps, shared, pooled="pool_blocks" in shared)
        steps = _tables(
            random,
            engine,
            tick_ps,
            growth_ticks=draw(st.integers(0, 3)),
            pairs=_pairs(random, longest_tokens, draw(st.sampled_from(["dense", "windowed", "sparse"]))),
            window_tokens=draw(st.just(0) | st.integers(1, longest_tokens)),
        )
        fewest = 0 if groups else 1
        weight = draw(st.sampled_from([1.0, 1.0, 0.3, 2.0])) if weighted else 1.0
        groups.append(Group(engine, steps, draw(st.integers(fewest, 4)), weight))
    random.shuffle(groups)
    return groups


def _rows(
    random: Random,
    row_count: int,
    longest_tokens: int,
    sharing: float,
    closed_loop: float,
    priorities: int,
    reuse_classes: int,
    itl_classes: int,
    span_ticks: int,
    tick_ps: int,
) -> list[Row]:
    """Rows of at most `longest_tokens` tokens; `sharing` and `closed_loop` are probabilities."""
    rows: list[Row] = []
    for index in range(row_count):
        output_tokens = random.randint(1, max(1, longest_tokens * random.choice([1, 4, 6]) // 8))
        most_input_tokens = longest_tokens - output_tokens
        parent = random.randrange(index) if index and random.random() < closed_loop else -1
        prefix_request, prefix_tokens = -1, 0
        if index and random.random() < sharing:
            follows_parent = parent >= 0 and random.random() < 0.8
            prefix_request = parent if follows_parent else random.randrange(index)
            prefix_tokens = min(_cut(random, rows[prefix_request], whole=follows_parent), most_input_tokens)
        # Half of the prompts with a shared prefix are no more than that prefix.
        input_tokens = random.randint(max(prefix_tokens, 1), most_input_tokens)
        if prefix_tokens and random.random() < 0.5:
            input_tokens = prefix_tokens
        rows.append(
            Row(
                arrival_ps=random.randint(0, span_ticks) * tick_ps,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                priority=random.randrange(priorities),
                parent=parent,
                think_ps=random.choice([0, 0, random.randint(1, 20)]) * tick_ps if parent >= 0 else 0,
                prefix_request=prefix_request,
                prefix_tokens=prefix_tokens,
                reuse_class=random.randrange(reuse_classes),
                itl_class=index % itl_classes,
            )
        )
    return rows


def _cut(random: Random, source: Row, whole: bool) -> int:
    """How much of the sequence of `source` to share: all of it, its prompt, or anything, outputs included."""
    sequence_tokens = source.input_tokens + source.output_tokens
    if whole:
        return sequence_tokens
    return random.choice([sequence_tokens, source.input_tokens, random.randint(1, sequence_tokens)])


def _engine(draw: st.DrawFn, rows: list[Row], tick_ps: int, shared: dict[str, Any], pooled: bool) -> Engine:
    """An engine with hardly more blocks than its largest request needs; ``shared`` are the options of all groups, and
    ``pooled`` whether there is a pool.
    """
    batching = draw(st.sampled_from([*BATCHINGS]))
    like_vllm = batching in ("vllm", "sarathi")
    max_num_seqs = draw(st.integers(1, 6))
    watermark = draw(st.sampled_from([0.0, 0.0, 0.1, 0.4])) if like_vllm else 0.0
    most_tokens = max(row.input_tokens + row.output_tokens - 1 for row in rows)
    needed_blocks = -(-most_tokens // shared["block_size"]) + BATCHINGS[batching].spare_blocks
    usable_blocks = needed_blocks
    while usable_blocks - floor(watermark * usable_blocks) < needed_blocks:
        usable_blocks += 1
    fewest_tokens = max(max_num_seqs, 4, most_tokens if BATCHINGS[batching].whole_prompts else 0)
    max_num_batched_tokens = draw(st.integers(fewest_tokens, max(fewest_tokens + 10, 40)))
    tiers: dict[str, Any] = {}
    if shared["prefix_caching"]:
        tiers = _tiers(draw, 3 * usable_blocks, 20 * shared["block_size"] * tick_ps, pooled)
    return Engine(
        num_blocks=1 + usable_blocks + draw(st.integers(0, 4)),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 1, 3, 8])) if like_vllm else 0,
        reserve_full_sequence=draw(st.booleans()) or not like_vllm,
        watermark=watermark,
        async_scheduling=draw(st.booleans()),
        stages=draw(st.sampled_from([1, 1, 2, 3])),
        batching=batching,
        chunk_tokens=draw(st.integers(1, max_num_batched_tokens)) if batching == "sarathi" else 512,
        **shared,
        **tiers,
    )


def _tiers(draw: st.DrawFn, most_blocks: int, block_ps: int, pooled: bool) -> dict[str, Any]:
    """Host memory as often as not; a block takes up to `block_ps` to load, from the pool too if there is one."""
    tiers: dict[str, Any] = {"overlap_loads": draw(st.booleans())}
    if draw(st.booleans()):
        tiers |= {"host_blocks": draw(st.integers(1, most_blocks)), "host_block_ps": draw(st.integers(0, block_ps))}
    if pooled:
        tiers["pool_block_ps"] = draw(st.integers(0, block_ps))
    return tiers


def _pairs(random: Random, longest_tokens: int, attention: str) -> NDArray[np.int64]:
    """The pairs of the first tokens of a sequence of `longest_tokens`; each token adds no more than its position."""
    positions = np.arange(longest_tokens + 1)
    if attention == "dense":
        return np.cumsum(positions)
    if attention == "windowed":
        return np.cumsum(np.minimum(positions, random.randint(1, longest_tokens)))
    return np.cumsum([random.randint(0, position) for position in positions])


def _tables(
    random: Random,
    engine: Engine,
    tick_ps: int,
    growth_ticks: int,
    pairs: NDArray[np.int64],
    window_tokens: int,
) -> StepTables:
    """StepTables that grow by 0 to `growth_ticks` ticks an entry; every step takes at least a tick."""

    def increasing(most: int, first_ticks: int = 0) -> NDArray[np.int64]:
        ticks = [first_ticks] + [random.randint(0, growth_ticks) for _ in range(most)]
        return np.cumsum(np.array(ticks, dtype=np.int64)) * tick_ps

    tokens, sequences = engine.stages * engine.max_num_batched_tokens, engine.max_num_seqs
    flat = random.random() < 0.3
    # In whole ticks a pair, so that instants coincide, or in fractions of a picosecond.
    pair_unit = random.choice([tick_ps * 1024, random.randint(1, tick_ps * 1024)])
    return StepTables(
        linear_ps=increasing(tokens, first_ticks=random.randint(1, 10)),
        sequence_ps=increasing(sequences),
        prefill_ps=increasing(tokens),
        prefill_pair=np.array([random.randint(0, growth_ticks) * pair_unit for _ in range(tokens + 1)]) * (not flat),
        pairs=pairs,
        decode_ps=increasing(sequences),
        decode_kv_ps=increasing(sequences) * (not flat),
        decode_window_ps=increasing(sequences) * (not flat),
        decode_generated_ps=increasing(sequences) * (not flat),
        window_tokens=window_tokens,
        prefill_step_ps=random.randint(0, growth_ticks) * tick_ps,
        mixed_step_ps=random.randint(0, growth_ticks) * tick_ps,
        prefill_context_ps=random.choice([0, random.randint(0, growth_ticks) * tick_ps]),
    )


def _operations(
    random: Random, operation_count: int, groups: list[Group], horizon_ticks: int, tick_ps: int
) -> list[Operation]:
    """Operations in order of time; repairs go to failed instances, what ends a drain or a freeze mostly to one in it,
    everything else to any that exists."""
    operations = []
    instances = sum(group.instances for group in groups)
    failed: list[int] = []
    drained: list[int] = []
    frozen: list[int] = []
    for at_ticks in sorted(random.randint(0, horizon_ticks) for _ in range(operation_count)):
        kind = random.choice(["add", "drain", "undrain", "freeze", "fail"])
        if failed and random.random() < 0.6:
            kind = "repair"
        instance = random.randrange(instances)
        startup_ticks, backoff_ticks, group = 0, 0, 0
        if kind == "add":
            instance = instances
            instances += 1
            startup_ticks = random.choice([0, random.randint(1, 50)])
            group = random.randrange(len(groups))
        elif kind == "repair":
            instance = failed.pop(random.randrange(len(failed)))
        elif kind == "undrain" and drained:
            instance = drained.pop(random.randrange(len(drained)))
        elif kind == "drain":
            drained.append(instance)
        elif kind == "freeze":
            frozen.append(instance)
        elif kind == "fail":
            if frozen and random.random() < 0.7:
                instance = frozen.pop(random.randrange(len(frozen)))
            if instance not in failed:
                failed.append(instance)
            backoff_ticks = random.choice([0, random.randint(1, 50)])
        operations.append(
            Operation(at_ticks * tick_ps, kind, instance, startup_ticks * tick_ps, backoff_ticks * tick_ps, group)
        )
    return operations
