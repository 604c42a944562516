"""What holds in every run, whatever the scenario: the invariants that docs/design.md names."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from harness import (
    advancing,
    after_every_event,
    assert_agreement,
    assert_same,
    examples,
    flat_steps,
    outcomes,
    run_kernel,
)
from hypothesis import given
from hypothesis import strategies as st
from kernel_invariants import check_state, check_work
from oracle import Engine, Group, Row
from oracle.scenarios import Scenario, choosy_router, python_router, scenarios

from sim.cluster import Cluster
from sim.kernel.routing import ROUTERS
from sim.kernel.state import GROW, Sim
from sim.routing import ClusterView, RoutedRequest


def without_operations() -> st.SearchStrategy[Scenario]:
    """Scenarios in which nothing fails and nobody is refused, so that every request is served by the instance that it
    was routed to.
    """

    def undisturbed(scenario: Scenario) -> Scenario:
        router = python_router if scenario.router is choosy_router else scenario.router
        return replace(scenario, router=router, operations=[])

    return scenarios().map(undisturbed)


# --- conservation -----------------------------------------------------------------------------------------------------


@examples(150)
@given(without_operations())
def test_every_request_finishes_exactly_once(scenario: Scenario) -> None:
    finished_before = np.zeros(len(scenario.rows), bool)

    def look(state: Sim) -> None:
        nonlocal finished_before
        finished = state.req["finish"] >= 0
        assert (finished >= finished_before).all(), "finished stays finished"
        assert finished.sum() == state.cluster["finished"][0] == state.inst["finished"].sum()
        finished_before = finished

    with after_every_event(look):
        cluster = run_kernel(scenario)
    assert finished_before.all()
    assert np.array_equal(
        np.bincount(cluster.state.req["instance"], minlength=scenario.instances), cluster.state.inst["finished"]
    )


@examples(150)
@given(without_operations())
def test_tokens_are_conserved(scenario: Scenario) -> None:
    state = run_kernel(scenario).state
    output_tokens = state.req["output"]
    assert state.inst["tokens"].sum() == output_tokens.sum(), "generated = asked for"
    assert state.itl_counts.sum() == (output_tokens - 1).sum(), "one gap between two tokens of a request"
    assert state.inst["prompt_tokens"].sum() == state.req["input"].sum()
    assert state.inst["hit_tokens"].sum() == state.req["hit"].sum()
    assert state.inst["preemptions"].sum() == state.req["preemptions"].sum()


@examples(150)
@given(scenarios())
def test_requests_survive_failures(scenario: Scenario) -> None:
    """With operations, whoever never finishes is held at the router, or by an instance that hangs, or waits for a
    parent that never finishes.
    """
    state = run_kernel(scenario).state
    lost = state.req["finish"] < 0
    for r in np.flatnonzero(lost):
        parent = scenario.rows[r].parent
        held = state.req["instance"][r]
        assert held == -1 or state.inst["frozen"][held], "nobody gives back what a hanging instance has"
        assert state.req["arrival"][r] >= 0 or (parent >= 0 and lost[parent])
    assert (state.inst["waiting"] + state.inst["running"] == 0)[state.inst["frozen"] == 0].all()


# --- causality --------------------------------------------------------------------------------------------------------


@examples(150)
@given(scenarios())
def test_causes_come_before_effects(scenario: Scenario) -> None:
    req = run_kernel(scenario).state.req
    done = req[req["finish"] >= 0]
    assert (done["arrival"] <= done["first_scheduled"]).all()
    assert (done["first_scheduled"] < done["first_token"]).all()
    assert (done["first_token"] <= done["finish"]).all()
    assert ((done["first_token"] == done["finish"]) == (done["output"] == 1)).all()
    for row, arrival_ps in zip(scenario.rows, req["arrival"].tolist(), strict=True):
        if row.parent < 0:
            assert arrival_ps == row.arrival_ps
        elif req["finish"][row.parent] >= 0:
            assert arrival_ps == req["finish"][row.parent] + row.think_ps
        else:
            assert arrival_ps == -1, "a follow-up of an unfinished request never arrives"


@pytest.mark.parametrize("router", ROUTERS)
def test_the_future_output_length_changes_no_choice(router: str) -> None:
    """Requests that arrive before anything finishes are routed alike, however long their outputs will be."""
    random = np.random.default_rng(5)
    arrivals_ps = np.sort(random.integers(0, 2000, 120)).tolist()
    input_tokens = random.integers(1, 60, 120).tolist()

    def choices(least_output_tokens: int) -> list[int]:
        lengths = np.random.default_rng(least_output_tokens).integers(0, 300, 120) + least_output_tokens
        rows = [Row(*row) for row in zip(arrivals_ps, input_tokens, lengths.tolist(), strict=True)]
        engine = Engine(num_blocks=120 * 1000, block_size=4, max_num_seqs=20, max_num_batched_tokens=60)
        cluster = run_kernel(Scenario(rows, [Group(engine, flat_steps(10), 5)], router, 7, []))
        assert cluster.state.req["finish"].min() > 2000
        return cluster.state.req["instance"].tolist()

    assert choices(300) == choices(900)


def test_a_python_router_is_not_told_the_output_length() -> None:
    assert not [name for name in (*RoutedRequest._fields, *ClusterView._fields) if "output" in name]


# --- memory -----------------------------------------------------------------------------------------------------------


@examples(150)
@given(scenarios())
def test_blocks_and_prefixes_are_sound_after_every_event(scenario: Scenario) -> None:
    """Blocks in use never exceed capacity, resident prefixes are closed, every count is that of what it counts."""
    with after_every_event(check_state):
        check_state(run_kernel(scenario).state)


@examples(100)
@given(without_operations())
def test_an_idle_cluster_uses_no_blocks(scenario: Scenario) -> None:
    inst = run_kernel(scenario).state.inst
    assert (inst["blank"] + inst["idle"] == inst["usable"]).all()
    assert (inst["queued_prefill"] == 0).all()
    assert (inst["decode_kv"] == 0).all()


def count_growths(scenario: Scenario) -> int:
    """How often the run asks for larger pools."""
    growths = 0

    def advance(state: Sim, until_ps: int, router: int, events: int) -> int:
        nonlocal growths
        reason = compiled(state, until_ps, router, events)
        growths += reason == GROW
        return reason

    with advancing(advance) as compiled:
        run_kernel(scenario)
    return growths


def test_runs_whose_pools_grow_several_times_agree() -> None:
    random = np.random.default_rng(11)
    rows: list[Row] = []
    for r in range(600):
        source = int(random.integers(0, r)) if r else -1
        shared_tokens = int(random.integers(1, 1 + rows[source].input_tokens)) if r else 0
        input_tokens = shared_tokens + int(random.integers(1, 12))
        rows.append(Row(40 * r, input_tokens, int(random.integers(1, 9)), 0, -1, 0, source, shared_tokens))
    engine = Engine(num_blocks=2000, block_size=2, max_num_seqs=2, max_num_batched_tokens=16)
    scenario = Scenario(rows, [Group(engine, flat_steps(10), 6)], "random", 1, [])
    assert count_growths(scenario) >= 4
    assert_agreement(scenario)


# --- work -------------------------------------------------------------------------------------------------------------


@examples(150)
@given(scenarios())
def test_no_instance_idles_while_it_has_work(scenario: Scenario) -> None:
    with after_every_event(check_work):
        run_kernel(scenario)


def busy_ps_by_instance(cluster: Cluster) -> list[int]:
    """Time during which each instance had a request, from when requests arrived and finished."""
    intervals = defaultdict(list)
    for outcome in outcomes(cluster):
        intervals[outcome.instance].append((outcome.arrival_ps, outcome.finish_ps))
    busy_ps = [0] * len(cluster.state.inst)
    for i, stays in intervals.items():
        until_ps = 0
        for arrival_ps, finish_ps in sorted(stays):
            busy_ps[i] += max(0, finish_ps - max(until_ps, arrival_ps))
            until_ps = max(until_ps, finish_ps)
    return busy_ps


@examples(150)
@given(without_operations())
def test_an_instance_is_busy_exactly_while_it_has_requests(scenario: Scenario) -> None:
    cluster = run_kernel(scenario)
    assert cluster.state.inst["busy_ps"].tolist() == busy_ps_by_instance(cluster)
    assert (cluster.state.inst["busy_ps"] <= cluster.state.cluster["clock"][0]).all()


# --- order ------------------------------------------------------------------------------------------------------------


@examples(150)
@given(without_operations())
def test_priority_order_is_respected(scenario: Scenario) -> None:
    """No request is scheduled for the first time while a more urgent one has been waiting for its own first time."""
    scenario = scenario.with_engines(queue="priority")
    req = run_kernel(scenario).state.req
    order = [(int(req["priority"][r]), int(req["arrival"][r]), r) for r in range(len(req))]
    for a in range(len(req)):
        waited = (
            (req["instance"] == req["instance"][a])
            & (req["arrival"][a] <= req["first_scheduled"])
            & (req["first_scheduled"] < req["first_scheduled"][a])
        )
        assert all(order[b] < order[a] for b in np.flatnonzero(waited))


@examples(150)
@given(without_operations())
def test_the_first_to_arrive_is_the_first_to_be_scheduled(scenario: Scenario) -> None:
    scenario = scenario.with_engines(queue="fcfs")
    req = run_kernel(scenario).state.req
    for i in range(scenario.instances):
        mine = np.flatnonzero(req["instance"] == i)
        by_arrival = mine[np.argsort(req["arrival"][mine], kind="stable")]
        assert (np.diff(req["first_scheduled"][by_arrival]) >= 0).all()


# --- replay -----------------------------------------------------------------------------------------------------------


@examples(200)
@given(without_operations())
def test_a_run_equals_the_replay_of_its_own_trace(scenario: Scenario) -> None:
    """The arrival times that follow-ups had, given to roots, lead to the same run."""
    first = outcomes(run_kernel(scenario))
    trace = [
        replace(row, parent=-1, think_ps=0, arrival_ps=outcome.arrival_ps)
        for row, outcome in zip(scenario.rows, first, strict=True)
    ]
    assert_same(outcomes(run_kernel(replace(scenario, rows=trace))), first)
