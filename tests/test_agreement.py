"""The compiled kernel and the plain-Python oracle agree on every request, to the picosecond."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pytest
from deployments import deploy, tables
from harness import (
    LONGEST_REQUEST_TOKENS,
    TRACES,
    after_every_event,
    assert_agreement,
    assert_calls_change_nothing,
    assert_same,
    blocks_of_largest,
    examples,
    outcomes,
    rows_of,
    run_kernel,
)
from hypothesis import given
from hypothesis import strategies as st
from oracle import Engine, Group, Row, StepTables, View
from oracle import run as run_oracle
from oracle.instance import Instance
from oracle.request import Request
from oracle.routers import SplitMix64
from oracle.scenarios import Scenario, scenarios

from sim.kv_capacity import kv_blocks
from workloads import BUILTINS, load
from workloads.compose import generate

# --- random scenarios: the smaller the part of the simulator, the easier a disagreement is to read --------------------


@examples(250)
@given(scenarios())
def test_one_instance_agrees(scenario: Scenario) -> None:
    alone = [replace(scenario.groups[0], instances=1)]
    assert_agreement(replace(scenario, groups=alone, operations=[], router="round-robin"))


@examples(250)
@given(scenarios(weighted=True))
def test_a_cluster_without_operations_agrees(scenario: Scenario) -> None:
    assert_agreement(replace(scenario, operations=[]))


@examples(400)
@given(scenarios(weighted=True))
def test_a_cluster_with_operations_agrees(scenario: Scenario) -> None:
    assert_agreement(scenario)


def slowed(scenario: Scenario, factor: int) -> Scenario:
    """Everything takes ``factor`` times as long."""
    counts = ("pairs", "window_tokens")

    def slower(steps: StepTables) -> StepTables:
        return StepTables(**{k: table if k in counts else table * factor for k, table in vars(steps).items()})

    return replace(
        scenario.with_groups(lambda group: replace(group, steps=slower(group.steps))),
        rows=[
            replace(row, arrival_ps=row.arrival_ps * factor, think_ps=row.think_ps * factor) for row in scenario.rows
        ],
        operations=[
            replace(operation, at_ps=operation.at_ps * factor, startup_ps=operation.startup_ps * factor)
            for operation in scenario.operations
        ],
    )


def oracle_gaps_ps(scenario: Scenario, warm_up_ps: int) -> tuple[list[int], list[int]]:
    """Every time between two tokens of a request, and the request's class, which is 3 if it arrives in the warm-up; a
    request that a failure restarts begins anew.
    """
    gaps_ps: list[int] = []
    classes: list[int] = []
    last_token_ps: dict[int, int] = {}
    end_step = Instance.end_step

    def end_step_and_note(instance: Instance, now_ps: int) -> list[Request]:
        before = [(request, request.generated) for request in instance.scheduled]
        finished = end_step(instance, now_ps)
        for request, generated in before:
            if request.generated > generated > 0:
                gaps_ps.append(now_ps - last_token_ps[request.id])
                classes.append(3 if request.outcome.arrival_ps < warm_up_ps else request.row.itl_class)
            if request.generated > generated:
                last_token_ps[request.id] = now_ps
        return finished

    with mock.patch.object(Instance, "end_step", end_step_and_note):
        run_oracle(**vars(scenario), check=False)
    return gaps_ps, classes


@examples(150)
@given(scenarios(), st.sampled_from([1, 300_000, 10**8]), st.sampled_from([0, 20, 10**4]))
def test_inter_token_latencies_agree(scenario: Scenario, factor: int, warm_up_ps: int) -> None:
    """The factor takes the scenario's few picoseconds to where the histogram has its bins."""
    scenario = slowed(scenario, factor)
    state = run_kernel(scenario, warm_up_ps * factor).state
    gaps_ps, classes = oracle_gaps_ps(scenario, warm_up_ps * factor)
    bins = np.searchsorted(state.itl_edges_ps, gaps_ps, side="right") - 1
    rows = np.where(np.array(classes, np.int64) == 3, len(state.itl_counts) - 1, classes)
    counts = np.zeros_like(state.itl_counts)
    np.add.at(counts, (rows.astype(np.int64), bins), 1)
    assert np.array_equal(state.itl_counts, counts)


# --- other ways to the same result ------------------------------------------------------------------------------------


@examples(100)
@given(scenarios())
def test_one_event_at_a_time_changes_nothing(scenario: Scenario) -> None:
    at_once = outcomes(run_kernel(scenario))
    with after_every_event(lambda state: None):
        assert_same(outcomes(run_kernel(scenario)), at_once)


@examples(100)
@given(scenarios(), st.integers(0, 2**32))
def test_slices_of_time_change_nothing(scenario: Scenario, seed: int) -> None:
    assert_calls_change_nothing(scenario, seed)


SCORES: dict[str, Callable[[View], np.ndarray]] = {
    "least-requests": lambda view: view.batch_size,
    "least-tokens": lambda view: view.queued_prefill_tokens + view.decode_kv_tokens,
    "vllm": lambda view: 4 * view.queued_requests + view.running_requests,
    "lmetric": lambda view: (view.queued_prefill_tokens + view.new_tokens) * (view.batch_size + 1),
}


def python_argmin(policy: str, seed: int) -> Callable[[int, View], int]:
    """The compiled policy written with the view alone; ties are drawn from a stream of its own."""
    stream = SplitMix64(seed)

    def route(request: int, view: View) -> int:
        score = SCORES[policy](view) / view.weight
        best = np.flatnonzero(view.healthy & (score == score[view.healthy].min()))
        return int(best[stream.below(len(best)) if len(best) > 1 else 0])

    return route


@pytest.mark.parametrize("policy", SCORES)
@examples(60)
@given(scenario=scenarios(weighted=True))
def test_a_policy_in_python_chooses_as_the_compiled_one(policy: str, scenario: Scenario) -> None:
    seed = scenario.router_seed
    compiled = outcomes(run_kernel(replace(scenario, router=policy)))
    assert_same(outcomes(run_kernel(replace(scenario, router=python_argmin(policy, seed)))), compiled)


# --- realistic lengths and step times ---------------------------------------------------------------------------------

BLOCK_SIZE = 16
MAX_NUM_BATCHED_TOKENS = 8192
MAX_NUM_SEQS = 256
WINDOW_TOKENS = 600


@cache
def qwen_on_h20() -> tuple[StepTables, int]:
    """Step tables of qwen2.5-7b on an H20, and how many KV blocks it has there."""
    deployed = deploy("h20", "qwen2.5-7b")
    table = tables(deployed, MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS, LONGEST_REQUEST_TOKENS)
    num_blocks = kv_blocks(deployed.model, deployed.gpu, 1, BLOCK_SIZE, MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS)
    return StepTables(**table._asdict()), num_blocks


def qwen_scenario(rows: list[Row], instances: int, router: str, **engine: Any) -> Scenario:
    steps, num_blocks = qwen_on_h20()
    options: dict[str, Any] = {
        "num_blocks": num_blocks,
        "block_size": BLOCK_SIZE,
        "max_num_seqs": MAX_NUM_SEQS,
        "max_num_batched_tokens": MAX_NUM_BATCHED_TOKENS,
    }
    return Scenario(rows, [Group(Engine(**(options | engine)), steps, instances)], router, router_seed=1, operations=[])


def windowed(steps: StepTables) -> StepTables:
    """Every second layer sees the last ``WINDOW_TOKENS`` tokens only."""
    positions = np.arange(len(steps.pairs))
    return replace(
        steps,
        pairs=np.cumsum(positions + np.minimum(positions, WINDOW_TOKENS)) // 2,
        decode_kv_ps=steps.decode_kv_ps // 2,
        decode_window_ps=steps.decode_kv_ps // 2,
        window_tokens=WINDOW_TOKENS,
        mixed_step_ps=steps.mixed_step_ps // 2,
    )


def hardly_enough_blocks(rows: list[Row]) -> dict[str, Any]:
    """Engine options under which requests are preempted and cached blocks evicted all the time."""
    return {"num_blocks": blocks_of_largest(rows, BLOCK_SIZE) * 5 // 4, "reserve_full_sequence": False}


CONVERSATIONS = "mooncake_conversation_trace.jsonl.gz"


@cache
def trace_rows(name: str, count: int = 400) -> list[Row]:
    return rows_of(load(TRACES / name, "mooncake").head(count))


@pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")
@pytest.mark.parametrize(
    ("router", "memory", "async_scheduling"),
    [
        ("lmetric", "ample", True),
        ("lmetric", "scarce", True),
        ("lmetric", "scarce", False),
        ("least-tokens", "ample", True),
    ],
)
@pytest.mark.parametrize("instances", [1, 4, 16])
@pytest.mark.parametrize(
    "name",
    [
        CONVERSATIONS,
        "mooncake_synthetic_trace.jsonl.gz",
        "mooncake_arxiv_toolagent_first1000.jsonl.gz",
    ],
)
def test_mooncake_traces_agree(name: str, instances: int, router: str, memory: str, async_scheduling: bool) -> None:
    rows = trace_rows(name)
    # The traces' own rate is more than one instance can serve: as many times the rate keep queues at all of them.
    rows = [replace(row, arrival_ps=row.arrival_ps // instances) for row in rows]
    engine = hardly_enough_blocks(rows) if memory == "scarce" else {}
    cluster = assert_agreement(qwen_scenario(rows, instances, router, async_scheduling=async_scheduling, **engine))
    assert cluster.state.req["hit"].sum() > 0
    if memory == "scarce":
        assert cluster.state.req["preemptions"].sum() > 0
        assert cluster.state.inst["evicted"].sum() > 0


@pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")
@pytest.mark.parametrize("memory", ["ample", "scarce"])
@pytest.mark.parametrize(
    ("batching", "queue"),
    [
        ("sglang", "fcfs"),
        ("sglang", "longest-prefix-match"),
        ("sarathi", "shortest-prompt"),
        ("orca", "fcfs"),
        ("static", "fcfs"),
    ],
)
@pytest.mark.parametrize("name", [CONVERSATIONS, "mooncake_arxiv_toolagent_first1000.jsonl.gz"])
def test_batching_policies_agree_on_mooncake_traces(name: str, batching: str, queue: str, memory: str) -> None:
    # SGLang reserves so much of the output that it takes longer until somebody has to be retracted.
    count = 1000 if (batching, memory) == ("sglang", "scarce") else 400
    rows = [replace(row, arrival_ps=row.arrival_ps // 4) for row in trace_rows(name, count)]
    engine: dict[str, Any] = {"batching": batching, "queue": queue}
    if batching in ("orca", "static"):
        rows = [row for row in rows if row.input_tokens + row.output_tokens <= MAX_NUM_BATCHED_TOKENS]
        rows = [replace(row, parent=-1, prefix_request=-1, prefix_tokens=0) for row in rows]
    if memory == "scarce":
        engine["num_blocks"] = blocks_of_largest(rows, BLOCK_SIZE) * 5 // 4 + 3
    state = assert_agreement(qwen_scenario(rows, 4, "lmetric", **engine)).state
    if batching in ("orca", "static"):
        assert state.req["preemptions"].sum() == 0, "whatever a request may become is reserved"
    elif memory == "scarce":
        assert state.inst["evicted"].sum() > 0
        assert state.req["preemptions"].sum() > 0 or name != CONVERSATIONS, "their outputs are long"


def chat_rows() -> list[Row]:
    pool = BUILTINS["chatbot"].pool(rate_per_s=60.0, clients=8, between_s=1.0)
    talkers = pool.take(range(8))  # without the long prompts of the others, which need most of a scarce memory
    return rows_of(generate(talkers, seed=3, duration_s=20.0).head(400))


@pytest.mark.parametrize("memory", ["ample", "scarce"])
@pytest.mark.parametrize("router", ["lmetric", "power-of-two"])
@pytest.mark.parametrize("instances", [1, 3])
def test_conversations_agree_closed_and_open_loop(instances: int, router: str, memory: str) -> None:
    rows = chat_rows()
    engine = hardly_enough_blocks(rows) if memory == "scarce" else {}
    closed = assert_agreement(qwen_scenario(rows, instances, router, **engine)).state.req
    # At three times the speed at which the closed loop sent them, turns come before the answer to the one before.
    arrivals_ps = (closed["arrival"] // 3).tolist()
    open_loop = [replace(row, parent=-1, think_ps=0, arrival_ps=at) for row, at in zip(rows, arrivals_ps, strict=True)]
    opened = assert_agreement(qwen_scenario(open_loop, instances, router, **engine)).state.req
    turns = np.array([r for r, row in enumerate(rows) if row.parent >= 0])
    parents = np.array([rows[r].parent for r in turns])
    overtaking = (opened["arrival"][turns] < opened["finish"][parents]) & (
        opened["arrival"][turns] >= opened["first_scheduled"][parents]
    )
    assert overtaking.sum() > 20, "turns arrive while their parents run"
    if memory == "scarce":
        assert opened["preemptions"].sum() > 0


@pytest.mark.parametrize("memory", ["ample", "scarce"])
def test_windowed_layers_agree(memory: str) -> None:
    rows = chat_rows()
    scenario = qwen_scenario(rows, 2, "least-tokens", **(hardly_enough_blocks(rows) if memory == "scarce" else {}))
    dense = assert_agreement(scenario).state
    narrow = assert_agreement(scenario.with_groups(lambda group: replace(group, steps=windowed(group.steps)))).state
    reaching = [row.input_tokens < WINDOW_TOKENS < row.input_tokens + row.output_tokens - 1 for row in rows]
    assert sum(reaching) > 20, "contexts outgrow the window while they decode"
    assert narrow.req["finish"].max() < dense.req["finish"].max()


@pytest.mark.parametrize("memory", ["ample", "scarce"])
def test_a_pipeline_of_two_stages_agrees(memory: str) -> None:
    """Two microbatches with half the tokens: tables, budgets and memory are those of one stage."""
    rows = chat_rows()
    scenario = qwen_scenario(rows, 2, "lmetric", **(hardly_enough_blocks(rows) if memory == "scarce" else {}))
    one = assert_agreement(scenario).state
    halves = scenario.with_engines(stages=2, max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS // 2)
    two = assert_agreement(
        halves.with_groups(lambda group: replace(group, steps=replace(group.steps, prefill_context_ps=1000)))
    ).state
    assert one.req["finish"].max() != two.req["finish"].max()
