"""Host memory below the GPU's cache, and a pool for all instances: examples by hand, and agreement with the oracle."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from harness import (
    TRACES,
    after_every_event,
    assert_agreement,
    assert_calls_change_nothing,
    examples,
    flat_steps,
    outcomes,
    rows_of,
    run_kernel,
)
from hypothesis import given
from hypothesis import strategies as st
from kernel_invariants import check_state
from oracle import Engine, Group, Operation, Row, run
from oracle.scenarios import Scenario, scenarios
from test_agreement import hardly_enough_blocks, qwen_scenario
from test_engine_eviction import crowded_caches

from sim.kernel.line import POOL_LINE, host_line
from sim.kernel.state import Sim
from workloads import load


@st.composite
def tiered(draw: st.DrawFn) -> Scenario:
    """A scenario with host memory, a pool or both, that hold from a block to more than the GPU."""
    scenario = draw(scenarios() | crowded_caches())
    random = Random(draw(st.integers(0, 2**32 - 1)))
    tick_ps = int(scenario.groups[0].steps.linear_ps[0])
    tiers = draw(st.sampled_from([("host",), ("pool",), ("host", "pool")]))
    engine: dict[str, Any] = {"overlap_loads": draw(st.booleans()), "prefix_caching": True}
    for tier in tiers:
        engine[f"{tier}_blocks"] = random.randint(1, random.choice([3, 12, 60]))
        engine[f"{tier}_block_ps"] = random.choice([0, random.randint(1, 2 * tick_ps)])
    for tier in {"host", "pool"}.difference(tiers):
        engine |= {f"{tier}_blocks": 0, f"{tier}_block_ps": 0}
    return scenario.with_engines(**engine)


@examples(400)
@given(tiered())
def test_tiers_agree(scenario: Scenario) -> None:
    assert_agreement(scenario)


@examples(60)
@given(tiered(), st.integers(0, 2**32))
def test_when_the_kernel_is_called_changes_nothing(scenario: Scenario, seed: int) -> None:
    assert_calls_change_nothing(scenario, seed)


@examples(60)
@given(tiered())
def test_the_kernels_state_is_sound_after_every_event(scenario: Scenario) -> None:
    with after_every_event(check_state):
        run_kernel(scenario)


@examples(60)
@given(tiered())
def test_the_oracles_invariants_hold(scenario: Scenario) -> None:
    run(**vars(scenario), check=True)


@examples(60)
@given(tiered())
def test_tiers_that_hold_nothing_change_nothing(scenario: Scenario) -> None:
    """A tier's speed means nothing where it has no room."""
    none = scenario.with_engines(host_blocks=0, pool_blocks=0)
    plain = none.with_engines(host_block_ps=0, pool_block_ps=0, overlap_loads=True)
    with_none, without = run_kernel(none).state, run_kernel(plain).state
    for records in ("req", "inst", "slot", "piece"):
        assert np.array_equal(getattr(with_none, records), getattr(without, records))


@pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")
@pytest.mark.parametrize("overlap_loads", [True, False])
def test_mooncake_traces_agree(overlap_loads: bool) -> None:
    rows = rows_of(load(TRACES / "mooncake_conversation_trace.jsonl.gz", "mooncake").head(400))
    rows = [replace(row, arrival_ps=row.arrival_ps // 4) for row in rows]
    tiers = {"host_blocks": 20_000, "host_block_ps": 16_000_000, "pool_blocks": 60_000, "pool_block_ps": 18_000_000}
    engine = hardly_enough_blocks(rows) | tiers | {"overlap_loads": overlap_loads}
    state = assert_agreement(qwen_scenario(rows, 3, "lmetric", **engine)).state
    assert state.req["preemptions"].sum() > 0 and state.inst["evicted"].sum() > 0
    assert state.req["host_hit"].sum() > 0 and state.req["pool_hit"].sum() > 0


# --- by hand ----------------------------------------------------------------------------------------------------------

STEP_PS = 100


def run_both(
    rows: Sequence[Row], instances: int = 1, operations: Sequence[Operation] = (), **engine: Any
) -> tuple[Any, Sim]:
    """Outcomes, the same by both simulators, and the kernel's last state. Blocks are two tokens, steps take 100 ps."""
    options: dict[str, Any] = {"num_blocks": 9, "block_size": 2, "max_num_seqs": 4, "max_num_batched_tokens": 60}
    group = Group(Engine(**(options | engine)), flat_steps(STEP_PS), instances)
    scenario = Scenario(list(rows), [group], "round-robin", 0, list(operations))
    cluster = assert_agreement(scenario)
    run(**vars(scenario), check=True)
    return outcomes(cluster), cluster.state


def evicting_rows() -> list[Row]:
    """A prompt of six blocks; one of six others, for which two blank blocks and four of the first are taken, the
    deepest first; and the first again, a token longer.
    """
    return [
        Row(0, 12, 1),
        Row(1000, 12, 1),
        Row(2000, 13, 1, prefix_request=0, prefix_tokens=12),
    ]


@pytest.mark.parametrize(
    ("host_block_ps", "overlap_loads", "step_ps"),
    [(10, True, 100), (10, False, 140), (30, True, 120), (30, False, 220)],
)
def test_a_load_lengthens_its_step_or_hides_behind_it(host_block_ps: int, overlap_loads: bool, step_ps: int) -> None:
    engine = {"host_blocks": 20, "host_block_ps": host_block_ps, "overlap_loads": overlap_loads}
    (*_, last), state = run_both(evicting_rows(), **engine)
    assert (last.hit_tokens, last.host_hit_tokens, last.pool_hit_tokens) == (4, 8, 0)
    assert last.first_token_ps - 2000 == step_ps
    # Four loaded blocks and one for the 13th token: the second prompt's six make room for three of them.
    host = state.line[host_line(0)]
    assert (host["written"], host["loaded"], host["blocks"]) == (4 + 5, 4, 5)


@pytest.mark.parametrize(("host_blocks", "loaded"), [(1, 1), (2, 2), (3, 3), (4, 4)])
def test_host_memory_forgets_the_oldest(host_blocks: int, loaded: int) -> None:
    """The deepest blocks went there first, so what is left continues what is on the GPU."""
    (*_, last), _ = run_both(evicting_rows(), host_blocks=host_blocks)
    assert (last.hit_tokens, last.host_hit_tokens) == (4, 2 * loaded)


def test_what_is_computed_again_leaves_host_memory() -> None:
    """A prompt that ends with its blocks computes the last of them again."""
    rows = [*evicting_rows()[:2], Row(2000, 12, 1, prefix_request=0, prefix_tokens=12)]
    (*_, last), state = run_both(rows, host_blocks=20)
    assert (last.hit_tokens, last.host_hit_tokens) == (4, 6)
    assert state.line[host_line(0)]["loaded"] == 3
    held = state.slot[state.slot["segment"] == state.seg["parent"][2]]
    assert (held["resident"].sum(), held["stored"].sum()) == (6, 0)


@pytest.mark.parametrize(("pool_blocks", "found"), [(2, 2), (5, 5), (20, 6)])
def test_another_instance_finds_in_the_pool_what_one_has_computed(pool_blocks: int, found: int) -> None:
    """Of a sequence longer than the pool its head is stored."""
    rows = [Row(0, 12, 1), Row(1000, 13, 1, prefix_request=0, prefix_tokens=12)]
    engine = {"pool_blocks": pool_blocks, "pool_block_ps": 50, "overlap_loads": False}
    (_, last), state = run_both(rows, instances=2, **engine)
    assert (last.instance, last.hit_tokens, last.pool_hit_tokens) == (1, 0, 2 * found)
    assert last.first_token_ps == 1000 + STEP_PS + 50 * found
    pool = state.line[POOL_LINE]
    assert (pool["written"], pool["loaded"], pool["blocks"]) == (min(pool_blocks, 6), found, min(pool_blocks, 6))


def test_the_pool_continues_what_the_instance_has_and_survives_its_failure() -> None:
    rows = [
        Row(0, 8, 1),  # on instance 0
        Row(0, 1, 1),
        Row(1000, 1, 1),
        Row(1000, 13, 1, prefix_request=0, prefix_tokens=8),  # on instance 1
        Row(2000, 13, 1, prefix_request=3, prefix_tokens=13),  # on 0 again: four blocks there, six in the pool
        Row(3000, 1, 1),
        Row(4000, 13, 1, prefix_request=3, prefix_tokens=13),  # on 0, which has lost everything
    ]
    operations = [Operation(2500, "fail", 0), Operation(2600, "repair", 0)]
    found, _ = run_both(rows, 2, operations, pool_blocks=30, host_blocks=30)
    assert [(found[r].instance, found[r].hit_tokens, found[r].pool_hit_tokens) for r in (3, 4, 6)] == [
        (1, 0, 8),
        (0, 8, 4),
        (0, 0, 12),
    ]


def test_the_pool_forgets_what_was_stored_longest_ago() -> None:
    """Storing what it has renews it; loading does not."""
    first = Row(0, 4, 1)
    again = {"input_tokens": 5, "output_tokens": 1, "prefix_request": 0, "prefix_tokens": 4}
    rows = [first, Row(1000, 4, 1), Row(2000, **again), Row(3000, 4, 1), Row(4000, **again)]
    # Each on an instance of its own: the pool alone remembers. It has room for two prompts.
    renewed, _ = run_both(rows, instances=5, pool_blocks=4)
    assert [outcome.pool_hit_tokens for outcome in renewed] == [0, 0, 4, 0, 4]
    forgotten, _ = run_both([*rows[:2], rows[3], rows[4]], instances=5, pool_blocks=4)
    assert [outcome.pool_hit_tokens for outcome in forgotten] == [0, 0, 0, 0]


def test_a_preempted_request_finds_its_blocks_again_in_the_pool() -> None:
    rows = [Row(0, 6, 8), Row(0, 6, 8)]
    found, state = run_both(rows, num_blocks=9, pool_blocks=30, pool_block_ps=7, reserve_full_sequence=False)
    assert sum(outcome.preemptions for outcome in found) > 0
    assert state.line[POOL_LINE]["loaded"] > 0
