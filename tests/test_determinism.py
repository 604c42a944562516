"""The same scenario and seed give the same bytes, in any process and on any number of workers."""

import hashlib
import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
from harness import examples, flat_steps, outcomes, rows_of, run_kernel
from hypothesis import given
from oracle import Engine, Group
from oracle.scenarios import Scenario, scenarios

from sim.cluster import Cluster
from workloads import generate

ROOT = Path(__file__).parents[1]
SEEDS = [0, 1, 2, 3]


def chat_scenario(router_seed: int, router: str = "lmetric") -> Scenario:
    """Conversations that come in bursts, so that many routing scores tie."""
    rows = rows_of(generate("chatbot", 0, {"requests": 500, "rate_per_s": 50.0, "clients": 4, "between_s": 1.0}))
    engine = Engine(num_blocks=4000, max_num_seqs=32, max_num_batched_tokens=2048, reserve_full_sequence=False)
    return Scenario(rows, [Group(engine, flat_steps(10**10, 2048), 4)], router, router_seed, [])


def recorded_bytes(cluster: Cluster) -> bytes:
    state = cluster.state
    return state.req.tobytes() + state.inst.tobytes() + state.itl_counts.tobytes()


def digest(router_seed: int) -> str:
    """Of everything that a run records."""
    return hashlib.sha256(recorded_bytes(run_kernel(chat_scenario(router_seed)))).hexdigest()


@examples(100)
@given(scenarios())
def test_a_scenario_run_twice_gives_the_same_bytes(scenario: Scenario) -> None:
    assert recorded_bytes(run_kernel(scenario)) == recorded_bytes(run_kernel(scenario))


def test_another_process_gives_the_same_bytes() -> None:
    """Also with another seed of Python's own hashes, which orders its sets anew."""
    here = digest(7)
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        command = [sys.executable, "-c", "from test_determinism import digest; print(digest(7))"]
        there = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
        assert there.stdout.strip() == here


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bytes(workers: int) -> None:
    expected = [digest(seed) for seed in SEEDS]
    with get_context("spawn").Pool(workers) as pool:
        assert pool.map(digest, SEEDS, chunksize=1) == expected


@pytest.mark.parametrize("router", ["lmetric", "least-requests", "vllm", "random", "power-of-two"])
def test_another_seed_breaks_ties_otherwise(router: str) -> None:
    first, second = (outcomes(run_kernel(chat_scenario(seed, router))) for seed in (0, 1))
    assert [outcome.instance for outcome in first] != [outcome.instance for outcome in second]


def test_a_router_that_draws_nothing_ignores_the_seed() -> None:
    first, second = (outcomes(run_kernel(chat_scenario(seed, "round-robin"))) for seed in (0, 1))
    assert first == second


def test_ties_do_not_favour_an_instance() -> None:
    """Requests that each meet an idle cluster are spread over all instances."""
    scenario = chat_scenario(0, "least-requests")
    apart = [type(row)(10**15 * r, 5, 1) for r, row in enumerate(scenario.rows)]
    lonely = Scenario(apart, [Group(scenario.groups[0].engine, flat_steps(10, 2048), 4)], "least-requests", 0, [])
    instances = [outcome.instance for outcome in outcomes(run_kernel(lonely))]
    # 500 draws of one in four: 125 each, with a standard deviation of 9.7.
    assert all(80 < instances.count(i) < 170 for i in range(4))
