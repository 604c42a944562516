"""Operations, Python routers and errors, on examples worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import simpy
from harness import advancing, flat_steps, run_kernel
from oracle import Engine as OracleEngine
from oracle import Group as OracleGroup
from oracle import Row
from oracle.scenarios import Scenario
from small_clusters import ENGINE, TEN, cluster_of

from sim.cluster import Cluster
from sim.errors import SimError
from sim.kernel.build import Engine
from sim.kernel.state import GROW, Sim
from sim.kernel.steptime import PAIR_SHIFT, StepTable
from sim.operations import Operation
from sim.routing import ClusterView, RoutedRequest


def column(cluster: Cluster, name: str) -> list[int]:
    return cluster.state.req[name].tolist()


# --- operations -------------------------------------------------------------------------------------------------------


def test_an_added_instance_accepts_after_its_start_up() -> None:
    """Each request needs two steps. Round-robin has one choice at 0 and 24 ps and the new instance's turn at 25 ps."""
    cluster = cluster_of([Row(0, 3, 2), Row(24, 3, 2), Row(25, 3, 2), Row(26, 3, 2)])
    cluster.run([Operation(5, "add", startup_ps=20)])
    assert column(cluster, "instance") == [0, 0, 0, 1]
    # Request 2 comes in the middle of request 1's first step, and is admitted at 34 ps.
    assert column(cluster, "first_scheduled") == [0, 24, 34, 26]
    assert column(cluster, "finish") == [20, 44, 54, 46]
    assert cluster.status == ["ready", "ready"]


def test_an_added_instance_without_start_up_accepts_at_once() -> None:
    cluster = cluster_of([Row(5, 3, 1), Row(5, 3, 1)])
    cluster.run([Operation(5, "add")])
    assert column(cluster, "instance") == [0, 1]
    assert column(cluster, "finish") == [15, 15]


def test_a_draining_instance_finishes_what_it_has_and_takes_nothing_more() -> None:
    cluster = cluster_of([Row(0, 3, 4), Row(0, 3, 4), Row(10, 3, 1), Row(11, 3, 1)], instances=2)
    cluster.run([Operation(10, "drain", 0)])
    assert column(cluster, "instance") == [0, 1, 1, 1]
    assert column(cluster, "finish") == [40, 40, 20, 30]
    assert cluster.status == ["stopped", "ready"]
    assert [(event.time_ps, event.kind) for event in cluster.log] == [(10, "drain"), (40, "stop")]


def test_a_failed_instance_loses_the_iteration_in_flight_and_its_cache() -> None:
    """At 20 ps request 0 has one token, and its second step, which ends at that instant, has not ended yet."""
    cluster = cluster_of([Row(0, 4, 3), Row(50, 5, 1, prefix_request=0, prefix_tokens=4)], instances=1)
    cluster.run([Operation(20, "fail", 0), Operation(27, "repair", 0)])
    assert column(cluster, "arrival") == [0, 50]
    assert column(cluster, "first_scheduled") == [27, 57]
    assert column(cluster, "first_token") == [37, 67]
    assert column(cluster, "finish") == [57, 67]
    assert column(cluster, "hit") == [0, 4], "the cache is filled anew after the repair"
    assert column(cluster, "preemptions") == [0, 0]
    assert cluster.state.inst["busy_ps"].tolist() == [20 + 30 + 10], "lost work kept it busy too"


def test_a_failed_instance_gives_its_requests_to_the_others() -> None:
    cluster = cluster_of([Row(0, 3, 3), Row(0, 3, 3), Row(0, 3, 3)], instances=2)
    cluster.run([Operation(15, "fail", 0)])
    assert column(cluster, "instance") == [1, 1, 1]
    # Requests 0 and 2 are admitted when the step of instance 1 that is in flight ends, at 20 ps.
    assert column(cluster, "first_scheduled") == [20, 0, 20]
    assert column(cluster, "finish") == [50, 30, 50]


def test_a_drained_instance_can_be_taken_back() -> None:
    """Until it is empty, at 40 ps; one that is still starting goes on doing so."""
    cluster = cluster_of([Row(0, 3, 4), Row(12, 3, 1), Row(21, 3, 1), Row(30, 3, 1)], instances=2)
    cluster.run([Operation(10, "drain", 0), Operation(20, "undrain", 0)])
    assert column(cluster, "instance") == [0, 1, 0, 1]
    starting = cluster_of([Row(25, 3, 1), Row(26, 3, 1), Row(41, 3, 1), Row(42, 3, 1)])
    starting.run([Operation(5, "add", startup_ps=35), Operation(10, "drain", 1), Operation(20, "undrain", 1)])
    assert column(starting, "instance") == [0, 0, 0, 1]
    assert [(event.time_ps, event.kind) for event in starting.log] == [
        *[(5, "add"), (10, "drain"), (20, "undrain"), (40, "ready")]
    ]


def test_a_hanging_instance_accepts_and_does_nothing() -> None:
    """Its step in flight at 15 ps is lost. Who is there when it fails at 50 ps is back at the router at 57 ps."""
    cluster = cluster_of([Row(0, 3, 3), Row(0, 3, 9), Row(20, 3, 1)], instances=2)
    cluster.run([Operation(15, "freeze", 0), Operation(50, "fail", 0, backoff_ps=7)])
    assert column(cluster, "instance") == [1, 1, 1]
    assert column(cluster, "first_scheduled") == [60, 0, 60]
    assert column(cluster, "finish") == [90, 90, 70]
    assert cluster.state.inst["busy_ps"].tolist() == [15, 90]
    assert cluster.state.inst["tokens"].tolist() == [1, 3 + 9 + 1]


def test_operations_of_one_instant_happen_in_the_order_of_the_list() -> None:
    rows = [Row(10, 3, 1)]
    repaired = cluster_of(rows)
    repaired.run([Operation(5, "fail", 0), Operation(5, "repair", 0)])
    assert column(repaired, "finish") == [20]
    with pytest.raises(SimError, match="can never be served"):
        cluster_of(rows).run([Operation(5, "repair", 0), Operation(5, "fail", 0)])


def test_a_failure_makes_a_pending_start_up_void() -> None:
    cluster = cluster_of([Row(0, 3, 1)])
    cluster.run(
        [
            Operation(0, "drain", 0),
            Operation(5, "add", startup_ps=20),
            Operation(10, "fail", 1),
            Operation(40, "repair", 1),
        ]
    )
    assert column(cluster, "first_scheduled") == [40]


# --- errors: one line that names what is wrong and the remedy ---------------------------------------------------------


def test_requests_that_nobody_will_ever_accept_are_an_error() -> None:
    with pytest.raises(SimError, match=r"^operations: 2 requests can never .* after 2e-11 s; repair or add one$"):
        cluster_of([Row(0, 3, 1), Row(30, 3, 1), Row(40, 3, 1)]).run([Operation(20, "drain", 0)])


def test_a_request_that_cannot_fit_names_its_row() -> None:
    small = ENGINE._replace(num_blocks=5)
    cluster_of([Row(0, 7, 2)], engine=small).run()
    with pytest.raises(SimError, match=r"^request 1: its 10 tokens need 5 KV blocks, an instance has 4; use more"):
        cluster_of([Row(0, 7, 2), Row(0, 8, 2)], engine=small)
    with pytest.raises(
        SimError, match=r"^request 0: .* need 4 KV blocks beside the watermark's 1, an instance has 4; "
    ):
        cluster_of([Row(0, 7, 2)], engine=small._replace(watermark=0.25))


def steps_of_pairs(longest_request_tokens: int, most_tokens: int, pair_ps: int) -> StepTable:
    """Dense attention, with so many picoseconds a pair."""
    pairs = np.cumsum(np.arange(longest_request_tokens + 1))
    return TEN._replace(pairs=pairs, prefill_pair=np.full(most_tokens + 1, pair_ps << PAIR_SHIFT))


def test_a_million_tokens_in_chunks_of_16384_do_not_overflow() -> None:
    """No table of 25,000 ps a pair and a million positions is refused, and the products are exact."""
    rows = [Row(0, 1_000_000, 1)]
    most_tokens = 16_384
    engine = Engine(num_blocks=65_000, block_size=16, max_num_seqs=8, max_num_batched_tokens=most_tokens)
    steps = steps_of_pairs(1_000_001, most_tokens, 25_000)._replace(
        linear_ps=np.full(most_tokens + 1, 10), prefill_ps=np.zeros(most_tokens + 1, np.int64)
    )
    cluster = cluster_of(rows, engine=engine, steps=steps)
    cluster.run()
    chunks = -(-1_000_000 // most_tokens)
    assert column(cluster, "finish") == [25_000 * (1_000_000 * 1_000_001 // 2) + 10 * chunks]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cluster_of([Row(0, 3, 1)], router="lmetrik"), r"^router: 'lmetrik' is unknown; did you mean lmetric"),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(queue="fifs")),
            r"^engine.queue: 'fifs' is unknown; did you mean fcfs\? known: fcfs, longest-prefix-match, priority, ",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(batching="sglan")),
            r"^engine.batching: 'sglan' is unknown; did you mean sglang\? known: orca, sarathi, sglang, static, vllm$",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(batching="orca", watermark=0.1)),
            r"^engine.watermark: batching 'orca' does not use it; leave it at 0.0, or use batching vllm or sarathi$",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(batching="sarathi")),
            r"^engine.chunk_tokens: 512 is not within 1 and max_num_batched_tokens 60; lower it or raise max_num_b",
        ),
        (
            lambda: cluster_of([Row(0, 60, 2)], engine=ENGINE._replace(batching="static")),
            r"^request 0: batching 'static' may prefill its 61 tokens in one step, which holds 60; raise engine.max_n",
        ),
        (
            lambda: cluster_of([Row(0, 195, 2)], engine=ENGINE._replace(batching="sglang")),
            r"^request 0: its 197 tokens need 98 KV blocks and 2 to spare for its admission, an instance has 99; use",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(max_num_seqs=61)),
            r"^engine.max_num_batched_tokens: 60 is below max_num_seqs 61; ",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(max_num_batched_tokens=65)),
            r"^step tables: 65 entries are too few for 65 tokens",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], steps=TEN._replace(pairs=np.arange(4))),
            r"^step tables: pairs has 4 entries, too few for a request of 4 tokens; make it 5$",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], steps=TEN._replace(pairs=np.array([0, 5, 4, 6, 7]))),
            r"^step tables: pairs decreases at position 2; let it grow or stay$",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], steps=steps_of_pairs(1_000_000, 16_384, 600_000)),
            r"^step tables: a chunk of 16384 tokens of up to 1000000 pairs each, at 600000 ps a pair, overflows 64 b",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], steps=TEN._replace(prefill_context_ps=2**61)),
            rf"^step tables: {2**61} ps a token of context overflows 64 bits in a request of 4 tokens; use shorter",
        ),
        (
            lambda: cluster_of([Row(0, 3, 1)], engine=ENGINE._replace(stages=2)),
            r"^step tables: 65 entries are too few for 120 tokens",
        ),
    ],
)
def test_bad_options_are_errors(build: Callable[[], Cluster], message: str) -> None:
    with pytest.raises(SimError, match=message):
        build()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            Operation(5, "repare", 0),
            r"^operations.0.kind: 'repare' is unknown; did you mean repair or freeze\? known: add, drain, fail",
        ),
        (Operation(5, "fail", 2), r"^operations.0.instance: there is no 2 by then; use 0 to 1$"),
        (Operation(5, "drain"), r"^operations.0.instance: is missing; use 0 to 1$"),
        (
            Operation(5, "drain", 0, backoff_ps=3),
            r"^operations.0.backoff_s: only `fail` gives requests back; leave it",
        ),
        (Operation(5, "add", 7), r"^operations.0.instance: the next instance to add is 2; leave the field out$"),
    ],
)
def test_bad_operations_are_errors(operation: Operation, message: str) -> None:
    with pytest.raises(SimError, match=message) as error:
        cluster_of([Row(0, 3, 5)], instances=2).run([operation])
    assert "\n" not in str(error.value)


# --- Python routers ---------------------------------------------------------------------------------------------------

INTEGERS = (
    "queued_requests",
    "running_requests",
    "batch_size",
    "queued_prefill_tokens",
    "hit_tokens",
    "new_tokens",
    "decode_kv_tokens",
)


def test_a_python_router_sees_every_indicator() -> None:
    """Two instances of 20 usable blocks of 2 tokens and two seats; request 4 comes at 25 ps.

    Instance 0: request 0 (4 + 5 tokens) has finished two steps and is in its third, with 4 + 1 + 1 tokens computed: 3
    blocks. Request 1 (3 + 3 tokens), admitted with it, has 5: 3 blocks. Request 2 (7 tokens) waits for a seat and has
    nothing to hit.
    Instance 1: request 3 (6 + 1 tokens) finished at 10 ps: its 3 blocks are idle.
    Request 4's first 4 tokens are request 0's prompt: both blocks are cached on instance 0.
    """
    seen: list[tuple[RoutedRequest, ClusterView]] = []

    def router(request: RoutedRequest, view: ClusterView) -> int:
        seen.append((request, view))
        return [0, 0, 0, 1, 1][request.id]

    rows = [
        Row(0, 4, 5),
        Row(0, 3, 3),
        Row(0, 7, 1),
        Row(0, 6, 1),
        Row(25, 7, 1, priority=2, prefix_request=0, prefix_tokens=4),
    ]
    cluster = cluster_of(rows, 2, router, ENGINE._replace(num_blocks=21, max_num_seqs=2))
    cluster.run([Operation(20, "add", startup_ps=10)])
    assert [request.id for request, _ in seen] == [0, 1, 2, 3, 4]
    request, view = seen[-1]
    assert request == RoutedRequest(
        id=4, arrival_s=25e-12, input_tokens=7, priority=2, client=-1, session=-1, turn=0, category="default"
    )
    assert view.queued_requests.tolist() == [1, 0, 0]
    assert view.running_requests.tolist() == [2, 0, 0]
    assert view.batch_size.tolist() == [3, 0, 0]
    assert view.queued_prefill_tokens.tolist() == [7, 0, 0]
    assert view.hit_tokens.tolist() == [4, 0, 0]
    assert view.new_tokens.tolist() == [3, 7, 7]
    assert view.decode_kv_tokens.tolist() == [6 + 5, 0, 0]
    assert view.kv_used_fraction.tolist() == [6 / 20, 0.0, 0.0]
    assert view.healthy.tolist() == [True, True, False]
    assert {getattr(view, name).dtype for name in INTEGERS} == {np.dtype(np.int64)}
    assert view.kv_used_fraction.dtype == np.float64
    assert view.healthy.dtype == np.bool_


def test_a_step_in_flight_is_still_queued_prefill() -> None:
    views: list[ClusterView] = []

    def router(request: RoutedRequest, view: ClusterView) -> int:
        views.append(view)
        return 0

    cluster_of([Row(0, 9, 1), Row(5, 3, 1), Row(11, 3, 1)], router=router).run()
    assert [view.queued_prefill_tokens[0] for view in views] == [0, 9, 3]


@pytest.mark.parametrize("choice", [1, 3, -1, None, "left", float("nan")])
def test_a_wrong_choice_is_an_error_that_names_the_healthy(choice: object) -> None:
    cluster = cluster_of([Row(20, 3, 1)], 3, lambda request, view: choice)  # type: ignore[arg-type, return-value]
    with pytest.raises(SimError) as error:
        cluster.run([Operation(10, "fail", 1)])
    assert str(error.value) == (
        f"the Python router chose {choice!r} for request 0; return the index of a healthy one: 0, 2; "
        "or sim.REJECT to refuse it"
    )


def test_a_numpy_integer_is_a_good_choice() -> None:
    cluster = cluster_of([Row(0, 3, 1)], 3, lambda request, view: np.int64(2))  # type: ignore[arg-type, return-value]
    cluster.run()
    assert column(cluster, "instance") == [2]


# --- what SimPy is not asked to do ------------------------------------------------------------------------------------


def test_a_plain_run_is_one_call_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """And SimPy handles a handful of events, however many requests there are."""
    reasons: list[int] = []
    steps = 0
    simpy_step = simpy.Environment.step

    def step(environment: simpy.Environment) -> None:
        nonlocal steps
        steps += 1
        simpy_step(environment)

    def advance(state: Sim, until_ps: int, router: int, events: int) -> int:
        reasons.append(compiled(state, until_ps, router, events))
        return reasons[-1]

    monkeypatch.setattr(simpy.Environment, "step", step)
    rows = [Row(r, 5, 1 + r % 7) for r in range(5000)]
    engine = OracleEngine(num_blocks=500, block_size=2, max_num_seqs=16, max_num_batched_tokens=60)
    with advancing(advance) as compiled:
        run_kernel(Scenario(rows, [OracleGroup(engine, flat_steps(10), 4)], "least-requests", 0, []))
    assert len([reason for reason in reasons if reason != GROW]) == 1
    assert len(reasons) < 12
    assert steps < 5


def test_a_compiled_router_that_chooses_nobody_is_an_error() -> None:
    from sim.kernel.routing import ROUTERS, router

    @router("nobody")
    def nobody(sim, r):  # type: ignore[no-untyped-def]
        """always instance 7"""
        return 7

    try:
        with pytest.raises(SimError, match="the router's choice for request 0 is no accepting instance"):
            cluster_of([Row(0, 3, 1)], 2, "nobody").run()
        with pytest.raises(ValueError, match="exists already"):
            router("nobody")(lambda sim, r: 0)
    finally:
        del ROUTERS["nobody"]
