"""What the router sees: late indicators, and a prefix index of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from harness import assert_same, examples, in_slices_of_time, kernel_groups, kernel_requests, outcomes
from hypothesis import given
from hypothesis import strategies as st
from oracle import Row
from oracle.scenarios import Scenario, scenarios
from router_states import linear_steps

from sim.cluster import Cluster
from sim.errors import SimError
from sim.kernel.build import Engine, Group
from sim.kernel.indicators import hit_tokens
from sim.kernel.prefix_index import note_prefix
from sim.kernel.router_memory import RouterMemory
from sim.kernel.steptime import StepTable
from sim.operations import Operation
from sim.routing import ROUTERS, ClusterView, PythonRouter, RoutedRequest

ENGINE = Engine(num_blocks=100, block_size=2, max_num_seqs=8, max_num_batched_tokens=60, async_scheduling=False)
S = 10**12  # ps


def ten_ps_steps() -> StepTable:
    tables = linear_steps()
    return tables._replace(linear_ps=np.full_like(tables.linear_ps, 10), decode_kv_ps=np.zeros_like(tables.linear_ps))


def views(rows: Sequence[Row], memory: RouterMemory, instances: int = 1) -> list[ClusterView]:
    """What a Python router sees at each request when all go to instance 0."""
    seen = []

    def router(request: RoutedRequest, view: ClusterView) -> int:
        seen.append(view)
        return 0

    Cluster(kernel_requests(rows), [Group(ENGINE, ten_ps_steps(), instances)], router, memory=memory).run()
    return seen


ROWS = [Row(0, 8, 5), Row(5, 6, 3), Row(12, 4, 1), Row(20, 4, 1)]  # steps of 10 ps


def test_all_is_seen_late() -> None:
    seen = views(ROWS, RouterMemory(requests_every_ps=10, tokens_every_ps=10, kv_every_ps=10))
    # As it was just before 0, 0, 10 and 20 ps.
    assert [int(view.running_requests[0]) for view in seen] == [0, 0, 1, 2]
    assert [int(view.queued_requests[0]) for view in seen] == [0, 0, 1, 1]
    assert [int(view.batch_size[0]) for view in seen] == [0, 0, 2, 3]
    assert [int(view.queued_prefill_tokens[0]) for view in seen] == [0, 0, 8 + 6, 6 + 4]
    assert [int(view.decode_kv_tokens[0]) for view in seen] == [0, 0, 0, 9]
    assert [float(view.kv_used_fraction[0]) for view in seen] == [0, 0, 4 / 99, 8 / 99]


def test_each_group_has_a_period_of_its_own() -> None:
    fresh = views(ROWS, RouterMemory())
    seen = views(ROWS, RouterMemory(requests_every_ps=10))
    assert [int(view.running_requests[0]) for view in seen] == [0, 0, 1, 2]
    for name in ("queued_prefill_tokens", "decode_kv_tokens", "kv_used_fraction", "hit_tokens"):
        assert [getattr(view, name).tolist() for view in seen] == [getattr(view, name).tolist() for view in fresh]


def test_a_refresh_that_is_long_in_coming_is_never_seen() -> None:
    seen = views(ROWS, RouterMemory(requests_every_ps=10**6))
    assert not any(view.batch_size.any() for view in seen)


def run_late(
    scenario: Scenario, router: str | PythonRouter, memory: RouterMemory, options: dict[str, Any] | None = None
) -> Cluster:
    """The scenario with a router of these options and this memory; requests may be stranded."""
    cluster = Cluster(
        kernel_requests(scenario.rows),
        kernel_groups(scenario.groups),
        router,
        scenario.router_seed,
        router_options=options,
        memory=memory,
    )
    try:
        cluster.run([Operation(**vars(operation)) for operation in scenario.operations])
    except SimError as error:
        assert "can never be served" in str(error)
    return cluster


@examples(60)
@given(scenarios(), st.sampled_from([1, 7, 1000]))
def test_late_signals_do_not_concern_a_router_that_looks_at_none(scenario: Scenario, every_ps: int) -> None:
    """Refreshing changes nothing but what the router sees, in scenarios with failures, additions and full memories."""
    late = RouterMemory(
        requests_every_ps=every_ps, tokens_every_ps=2 * every_ps, kv_every_ps=3 * every_ps, hits_every_ps=every_ps
    )
    assert outcomes(run_late(scenario, "round-robin", late)) == outcomes(
        run_late(scenario, "round-robin", RouterMemory())
    )


@examples(60)
@given(scenarios(), st.integers(0, 2**32), st.sampled_from([3, 40, 1000]))
def test_slices_of_time_change_nothing_of_what_is_seen(scenario: Scenario, seed: int, every_ps: int) -> None:
    late = RouterMemory(requests_every_ps=every_ps, tokens_every_ps=every_ps + 1, hits_every_ps=2 * every_ps)
    at_once = outcomes(run_late(scenario, "lmetric", late))
    with in_slices_of_time(seed):
        assert_same(outcomes(run_late(scenario, "lmetric", late)), at_once)


def test_a_refresh_before_a_failure_does_not_know_of_it() -> None:
    """Instance 0 fails at 15, after the refresh at 10: until 20 the router believes that it runs a request."""
    seen = []

    def router(request: RoutedRequest, view: ClusterView) -> int:
        seen.append(view.running_requests.tolist())
        return 1 if request.id == 1 or not view.healthy[0] else 0

    rows = [Row(0, 8, 50), Row(17, 4, 1), Row(25, 4, 1)]
    memory = RouterMemory(requests_every_ps=10)
    cluster = Cluster(kernel_requests(rows), [Group(ENGINE, ten_ps_steps(), 2)], router, memory=memory)
    cluster.run([Operation(15, "fail", 0)])
    assert seen == [[0, 0], [1, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("router", ROUTERS)
@examples(10)
@given(scenario=scenarios(), own_index=st.booleans(), late=st.booleans())
def test_every_policy_serves_all_requests_whatever_it_sees(
    router: str, scenario: Scenario, own_index: bool, late: bool
) -> None:
    ids = np.arange(len(scenario.rows)) % 5 - 1
    memory = RouterMemory(
        session=ids,
        client=ids,
        own_index=own_index,
        note_life_ps=1000,
        note_blocks=20,
        requests_every_ps=100 * late,
        tokens_every_ps=30 * late,
        hits_every_ps=0 if own_index else 70 * late,
    )
    cluster = run_late(scenario, router, memory)
    finished = cluster.state.req["finish"] >= 0
    assert finished.all() or scenario.operations
    assert cluster.state.cluster["used_notes"][0] == sum(notes_of(cluster, i)[0] for i in range(len(cluster.status)))
    for i in range(len(cluster.status)):
        assert notes_of(cluster, i)[1] == cluster.state.noted[i]["blocks"] <= 20


def notes_of(cluster: Cluster, i: int) -> tuple[int, int]:
    """How many notes instance ``i`` has, and their blocks."""
    count = blocks = 0
    n = int(cluster.state.noted[i]["oldest"])
    while n >= 0:
        count, blocks = count + 1, blocks + int(cluster.state.note[n]["blocks"])
        n = int(cluster.state.note[n]["newer"])
    return count, blocks


@pytest.mark.parametrize(
    ("every_ps", "hit_tokens"), [(0, [0, 6, 8]), (3, [0, 6, 8]), (18, [0, 0, 6]), (100, [0, 0, 0])]
)
def test_hits_are_seen_late(every_ps: int, hit_tokens: list[int]) -> None:
    """Request 1 has cached its fourth block when its prefill begins at 20."""
    rows = [
        Row(0, 8, 5),
        Row(15, 9, 3, prefix_request=0, prefix_tokens=6),
        Row(28, 9, 1, prefix_request=1, prefix_tokens=9),
    ]
    seen = views(rows, RouterMemory(hits_every_ps=every_ps), instances=2)
    assert [view.hit_tokens.tolist() for view in seen] == [[hit, 0] for hit in hit_tokens]


# --- the router's own prefix index ------------------------------------------------------------------------------------

SHARING = [
    Row(0, 8, 3),
    Row(0, 9, 3, prefix_request=0, prefix_tokens=6),
    Row(0, 9, 1, prefix_request=1, prefix_tokens=9),
]


def index_of(memory: RouterMemory) -> Cluster:
    return Cluster(kernel_requests(SHARING), [Group(ENGINE, ten_ps_steps(), 2)], "lmetric", memory=memory)


def hits(cluster: Cluster, request: int) -> list[int]:
    hit_tokens(cluster.state, request)
    return cluster.state.hits.tolist()


def assign(cluster: Cluster, request: int, instance: int, at_ps: int) -> None:
    cluster.state.cluster["clock"] = at_ps
    note_prefix(cluster.state, request, instance)


def test_the_router_believes_in_what_it_sent() -> None:
    cluster = index_of(RouterMemory(own_index=True))
    assert hits(cluster, 1) == [0, 0]
    assign(cluster, 0, 1, 0)
    assert hits(cluster, 1) == [0, 6], "though nothing has been computed"
    assert hits(cluster, 0) == [0, 6], "the last token is always computed: 3 of its 4 blocks"
    assign(cluster, 1, 0, 0)
    assert hits(cluster, 2) == [8, 6]


def test_notes_expire() -> None:
    cluster = index_of(RouterMemory(own_index=True, note_life_ps=10))
    assign(cluster, 0, 1, 0)
    cluster.state.cluster["clock"] = 10
    assert hits(cluster, 1) == [0, 6]
    cluster.state.cluster["clock"] = 11
    assert hits(cluster, 1) == [0, 0]
    assign(cluster, 1, 1, 11)
    assert hits(cluster, 2) == [0, 8], "its path is new again"
    assert notes_of(cluster, 1) == (2, 4), "the tail of request 0 has gone"


def test_the_oldest_notes_make_room() -> None:
    cluster = index_of(RouterMemory(own_index=True, note_blocks=4))
    assign(cluster, 0, 1, 0)
    assert notes_of(cluster, 1) == (2, 4)
    assign(cluster, 1, 1, 5)
    assert hits(cluster, 2) == [0, 8]
    assert hits(cluster, 0) == [0, 6], "its own last block went, the first in use"
    tiny = index_of(RouterMemory(own_index=True, note_blocks=0))
    assign(tiny, 0, 1, 0)
    assert notes_of(tiny, 1) == (0, 0)


def test_a_failed_instance_is_forgotten() -> None:
    cluster = index_of(RouterMemory(own_index=True))
    assign(cluster, 0, 1, 0)
    cluster.fail(1)
    assert hits(cluster, 1) == [0, 0]
    assert cluster.state.cluster["used_notes"][0] == 0
