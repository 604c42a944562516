"""One scenario through both simulators: an oracle `Scenario` run by the kernel, and its outcomes compared."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, settings
from oracle import Group as OracleGroup
from oracle import Outcome, Row, StepTables, View
from oracle import run as run_oracle
from oracle.scenarios import Scenario

import sim.cluster
from sim.cluster import Cluster
from sim.errors import SimError
from sim.kernel.build import Engine, Group, Requests
from sim.kernel.state import NEVER, PAUSE, REACHED, REJECTED, Sim
from sim.kernel.steptime import StepTable
from sim.operations import Operation
from workloads import Workload

Advance = Callable[[Sim, int, int, int], int]

PS_PER_S = 10**12
LONGEST_REQUEST_TOKENS = 200_000  # for which the tests make tables
TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"

# Field of an Outcome -> field of the kernel's request record.
RECORDED = {
    "arrival_ps": "arrival",
    "instance": "instance",
    "hit_tokens": "hit",
    "preemptions": "preemptions",
    "first_scheduled_ps": "first_scheduled",
    "first_token_ps": "first_token",
    "finish_ps": "finish",
    "host_hit_tokens": "host_hit",
    "pool_hit_tokens": "pool_hit",
    "rejected": "state",
}
assert list(RECORDED) == [field.name for field in fields(Outcome)]


def examples(default: int) -> settings:
    """Hypothesis settings: the same ``default`` examples each time, or SERVESIM_EXAMPLES fresh random ones."""
    asked_for = os.environ.get("SERVESIM_EXAMPLES")
    return settings(
        max_examples=int(asked_for or default),
        derandomize=asked_for is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


# --- running ----------------------------------------------------------------------------------------------------------


def flat_steps(step_ps: int, most_tokens: int = 64) -> StepTables:
    """Every step takes ``step_ps``."""
    nothing = np.zeros(most_tokens + 1, np.int64)
    no_pairs = np.zeros(LONGEST_REQUEST_TOKENS + 1, np.int64)
    return StepTables(
        nothing + step_ps, nothing, nothing, nothing, no_pairs, nothing, nothing, nothing, nothing, 0, 0, 0
    )


def kernel_requests(rows: Sequence[Row]) -> Requests:
    return Requests(*(np.array([getattr(row, name) for row in rows], np.int64) for name in Requests._fields))


def kernel_groups(groups: Sequence[OracleGroup]) -> list[Group]:
    return [
        Group(Engine(**vars(group.engine)), StepTable(**vars(group.steps)), group.instances, group.weight, str(at))
        for at, group in enumerate(groups)
    ]


def make_cluster(scenario: Scenario, warm_up_ps: int = 0, router_options: dict[str, float] | None = None) -> Cluster:
    """The scenario in the compiled simulator, not yet run."""
    router = scenario.router
    return Cluster(
        kernel_requests(scenario.rows),
        kernel_groups(scenario.groups),
        router if isinstance(router, str) else lambda request, view: router(request.id, View(**view._asdict())),
        scenario.router_seed,
        router_options=router_options,
        warm_up_ps=warm_up_ps,
    )


def run_kernel(scenario: Scenario, warm_up_ps: int = 0) -> Cluster:
    """Run it; requests that no instance accepts any more must be reported, and stay unfinished."""
    cluster = make_cluster(scenario, warm_up_ps)
    stranded = False
    try:
        cluster.run([Operation(**vars(operation)) for operation in scenario.operations])
    except SimError as error:
        if "can never be served" not in str(error):
            raise
        stranded = True
    req = cluster.state.req
    assert stranded == bool(((req["finish"] < 0) & (req["state"] != REJECTED)).any())
    return cluster


def outcomes(cluster: Cluster) -> list[Outcome]:
    """What the kernel recorded, in the oracle's terms."""
    req = cluster.state.req
    columns = [req["state"] == REJECTED if name == "state" else req[name] for name in RECORDED.values()]
    return [Outcome(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def assert_same(actual: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    """Outcomes are equal in every field; names the first request that differs."""
    assert len(actual) == len(expected)
    for request, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one == other, f"request {request}"


def assert_agreement(scenario: Scenario) -> Cluster:
    """Kernel and oracle have the same outcomes. Returns the kernel's run."""
    cluster = run_kernel(scenario)
    assert_same(outcomes(cluster), run_oracle(**vars(scenario), check=False))
    return cluster


# --- what the control plane calls -------------------------------------------------------------------------------------


@contextmanager
def advancing(advance: Advance) -> Iterator[Advance]:
    """Let the control plane call ``advance(state, until, router, events)`` instead; gives the kernel's own."""
    compiled = sim.cluster.kernel.advance
    with mock.patch.object(sim.cluster.kernel, "advance", advance):
        yield compiled


@contextmanager
def after_every_event(look: Callable[[Sim], None]) -> Iterator[None]:
    """The kernel performs one event at a time; ``look`` sees the state after each."""

    def advance_one(state: Sim, until_ps: int, router: int, events: int) -> int:
        reason = compiled(state, until_ps, router, 1)
        look(state)
        return reason

    with advancing(advance_one) as compiled:
        yield


@contextmanager
def in_slices_of_time(seed: int) -> Iterator[None]:
    """The kernel is called many times, up to one random time after another, each some events at most."""
    random = Random(seed)

    def advance_in_slices(state: Sim, until_ps: int, router: int, events: int) -> int:
        slice_end_ps = 0
        while True:
            slice_end_ps = max(slice_end_ps, int(state.cluster["clock"][0])) + random.choice([0, 1, 30, 10_000, 10**6])
            reason = compiled(state, min(slice_end_ps, until_ps), router, random.choice([1, 5, NEVER // 2]))
            if reason not in (REACHED, PAUSE) or (reason == REACHED and slice_end_ps >= until_ps):
                return reason

    with advancing(advance_in_slices) as compiled:
        yield


def assert_calls_change_nothing(scenario: Scenario, seed: int) -> None:
    """When the kernel is called, and for how long, does not matter."""
    at_once = outcomes(run_kernel(scenario))
    with in_slices_of_time(seed):
        assert_same(outcomes(run_kernel(scenario)), at_once)


# --- workloads --------------------------------------------------------------------------------------------------------


def rows_of(workload: Workload) -> list[Row]:
    """The rows of a workload as the oracle reads them."""
    return [
        Row(
            arrival_ps=0 if workload.parent[r] >= 0 else round(float(workload.arrival_s[r]) * PS_PER_S),
            input_tokens=int(workload.input_tokens[r]),
            output_tokens=int(workload.output_tokens[r]),
            priority=int(workload.priority[r]),
            parent=int(workload.parent[r]),
            think_ps=round(float(workload.think_s[r]) * PS_PER_S),
            prefix_request=int(workload.prefix_request[r]),
            prefix_tokens=int(workload.prefix_tokens[r]),
        )
        for r in range(len(workload))
    ]


def blocks_of_largest(rows: Sequence[Row], block_size: int) -> int:
    """KV blocks that the largest request needs."""
    return max(-(-(row.input_tokens + row.output_tokens - 1) // block_size) for row in rows)
