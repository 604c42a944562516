"""Batching policies and queue orders as a user meets them; their rules are tested in oracle/test_batching.py."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import assert_agreement, flat_steps, outcomes, run_kernel
from oracle import Engine, Group, Row
from oracle.scenarios import Scenario

from sim.kernel.batching import BATCHINGS

ROWS = [Row(0, 6, 40), Row(0, 4, 30), Row(105, 9, 3), Row(108, 2, 3)]

ONE_AT_A_TIME = '''
from sim.kernel.admission import admit_as_scheduled
from sim.kernel.batching import batching
from sim.kernel.jit import compiled
from sim.kernel.running import schedule_in_order


@compiled
def grant_if_alone(sim, r, hit_blocks, idle_hits, budget):
    return sim.req[r].input if sim.inst[sim.req[r].instance].running == 0 else 0


@batching("one-at-a-time", grant_if_alone)
def one_at_a_time(sim, i):
    """a request after the other"""
    budget = schedule_in_order(sim, i)
    return 0 if admit_as_scheduled(sim, i, budget) else 1
'''


def scenario(rows: list[Row] = ROWS, **options: object) -> Scenario:
    settings = {"max_num_seqs": 4, "max_num_batched_tokens": 60} | options
    engine = Engine(200, 2, **settings)  # type: ignore[arg-type]
    return Scenario(rows, [Group(engine, flat_steps(10), 1)], "round-robin", 0, [])


# When these finish, of 3, 8 and 4 prompt tokens, in steps of 100 ps and 1 ps a token that hold 10 tokens at most. The
# first decodes 3 tokens; the others come meanwhile.
MEET = [Row(0, 3, 4), Row(50, 8, 1), Row(50, 4, 1)]
FINISH_PS: dict[str, tuple[dict[str, int], list[int]]] = {
    # 103; 1 + 8 + 1 tokens: 213; 1 + 3: 317; 1: 418.
    "vllm": ({}, [418, 213, 317]),
    # 103; 1 + 3 tokens: 207; 1 + 3: 311; 1 + 2 + 1: 415; 3: 518.
    "sarathi": ({"chunk_tokens": 4}, [415, 415, 518]),
    # 103; no decode beside 8 + 2 tokens: 213, nor beside 2: 315; three times 1: 618.
    "sglang": ({}, [618, 213, 315]),
    # 103; 1 + 8 tokens, as 4 more do not fit: 212; 1 + 4: 317; 1: 418.
    "orca": ({}, [418, 212, 317]),
    # 103; three times 1: 406; 8, as 4 more do not fit: 514; 4: 618.
    "static": ({}, [406, 514, 618]),
}


@pytest.mark.parametrize("name", FINISH_PS)
def test_whom_it_schedules(name: str) -> None:
    options, finish_ps = FINISH_PS[name]
    made = scenario(MEET, batching=name, max_num_batched_tokens=10, async_scheduling=False, **options)
    group = made.groups[0]
    steps = replace(group.steps, linear_ps=100 + np.arange(len(group.steps.linear_ps)))
    made = replace(made, groups=[replace(group, steps=steps)])
    assert [outcome.finish_ps for outcome in outcomes(assert_agreement(made))] == finish_ps


def test_every_policy_has_a_case() -> None:
    assert FINISH_PS.keys() == BATCHINGS.keys(), "say when MEET finish under a new policy"


@pytest.mark.parametrize("name", BATCHINGS)
def test_a_policy_says_what_it_does(name: str) -> None:
    assert BATCHINGS[name].description


def test_a_policy_of_ones_own_is_one_file(tmp_path: Path) -> None:
    policy = tmp_path / "one_at_a_time.py"
    policy.write_text(ONE_AT_A_TIME)
    try:
        runpy.run_path(str(policy))
        with pytest.raises(ValueError, match="batching 'one-at-a-time' exists already; choose another name"):
            runpy.run_path(str(policy))
        cluster = run_kernel(scenario(batching="one-at-a-time"))
    finally:
        del BATCHINGS["one-at-a-time"]
    assert [outcome.finish_ps for outcome in outcomes(cluster)] == [400, 700, 730, 760]


def test_sglang_s_prefill_steps_widen_the_gaps_of_decode() -> None:
    state = run_kernel(scenario(batching="sglang", async_scheduling=False)).state
    # One step prefills the first two; another, from 110 ps on, the others: the two that decode then wait 20 ps.
    assert state.inst["prefill_only"].tolist() == [2]
    assert state.inst["iteration"].tolist() == [39]
    assert state.req["finish"].tolist() == [410, 310, 140, 140]


@pytest.mark.parametrize("batching", ["vllm", "sglang", "sarathi", "orca", "static"])
def test_decode_is_computed_in_jumps(batching: str) -> None:
    options = {"chunk_tokens": 50} if batching == "sarathi" else {}
    cluster = run_kernel(scenario([Row(0, 6, 50), Row(1, 4, 30), Row(2, 3, 1)], batching=batching, **options))
    assert int(cluster.state.inst["iteration"][0]) >= 49
    assert int(cluster.state.cluster["events"][0]) < 20
    assert np.all(cluster.state.req["finish"] > 0)
