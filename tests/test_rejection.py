"""Routers that refuse requests: refused once and for all, follow-ups with them, and out of every figure."""

from dataclasses import replace

import numpy as np
import pytest
from harness import assert_same, examples, flat_steps, make_cluster, outcomes, run_kernel
from hypothesis import given
from oracle import Engine, Group, Row, View, run
from oracle.scenarios import Scenario, choosy_router, scenarios
from router_states import ENGINE, Choice

from sim import REJECT, ClusterView, RoutedRequest, SimError, make_scenario, simulate
from sim.kernel.state import NONE, REJECTED
from sim.kernel.tiers import store

PROMPT_TOKENS = 10
ENGINE_OF_BOTH = Engine(num_blocks=50, block_size=2, max_num_seqs=4, max_num_batched_tokens=60, async_scheduling=False)
SCENARIO = Scenario(
    rows=[
        Row(0, PROMPT_TOKENS, 2),
        Row(0, PROMPT_TOKENS, 2),
        Row(0, 3, 1, parent=1, think_ps=5),
        Row(0, 3, 1, parent=2),
    ],
    groups=[Group(ENGINE_OF_BOTH, flat_steps(100), 1)],
    router="round-robin",
    router_seed=0,
    operations=[],
)


def test_follow_ups_go_with_the_request_that_is_refused() -> None:
    asked: list[int] = []

    def refuse_the_second(request: int, view: View) -> int:
        asked.append(request)
        return REJECT if request == 1 else 0

    scenario = replace(SCENARIO, router=refuse_the_second)
    state = run_kernel(scenario).state
    assert asked == [0, 1], "the user who was refused asks no more"
    assert state.req["state"].tolist()[1:] == [REJECTED] * 3
    assert state.req["instance"].tolist() == [0, NONE, NONE, NONE]
    assert state.req["arrival"].tolist() == [0, 0, NONE, NONE]
    assert state.cluster["finished"][0] == 1 and state.cluster["rejected"][0] == 3
    assert_same(outcomes(run_kernel(scenario)), run(**vars(scenario)))


@examples(150)
@given(scenarios())
def test_every_request_finishes_or_is_refused_exactly_once(scenario: Scenario) -> None:
    scenario = replace(scenario, router=choosy_router, operations=[])
    state = run_kernel(scenario).state
    finished, rejected = state.req["finish"] >= 0, state.req["state"] == REJECTED
    assert (finished != rejected).all()
    assert (finished.sum(), rejected.sum()) == (state.cluster["finished"][0], state.cluster["rejected"][0])
    assert finished.sum() == state.inst["finished"].sum()
    for r, row in enumerate(scenario.rows):
        if row.parent >= 0 and rejected[row.parent]:
            assert rejected[r] and state.req["arrival"][r] == NONE


@pytest.mark.parametrize("slo_ps", [100, 250, 10**6])
def test_a_compiled_router_refuses_as_the_oracle_does(slo_ps: int) -> None:
    """What Mooncake's policy answered, given again by a router of the oracle."""
    random = np.random.default_rng(4)
    rows = [
        Row(int(at), int(tokens), 5, parent=r - 7 if r % 3 == 0 and r > 7 else -1)
        for r, (at, tokens) in enumerate(
            zip(np.sort(random.integers(0, 3000, 80)), random.integers(1, 50, 80), strict=True)
        )
    ]
    group = Group(replace(ENGINE_OF_BOTH, num_blocks=90, pool_blocks=40), flat_steps(100), 3)
    scenario = replace(SCENARIO, rows=rows, groups=[group], router="mooncake")
    cluster = make_cluster(scenario, router_options={"ttft_slo_s": slo_ps / 1e12})
    cluster.run()
    rejected = cluster.state.req["state"] == REJECTED
    assert rejected.any() == (slo_ps < 10**6) and not rejected.all()
    answers = np.where(rejected, REJECT, cluster.state.req["instance"]).tolist()
    again = replace(scenario, router=lambda request, view: answers[request])
    assert_same(outcomes(cluster), run(**vars(again)))


# A token costs 10 ps and a block of the pool is one token: 60 of request 0's 100 are in the pool.
@pytest.mark.parametrize(
    ("pool_block_ps", "queued_prefill", "expected"),
    [
        (4, [0, 0, 0], {0}),  # 50 x 4 + 40 x 10 beside 60 x 4 + 40 x 10
        (4, [5, 0, 0], {1, 2}),  # 50 more
        (11, [5, 0, 0], {0}),  # to compute is faster: 50 + 90 x 10 beside 100 x 10
    ],
)
def test_mooncake_fetches_from_the_pool_if_that_is_faster(
    pool_block_ps: int, queued_prefill: list[int], expected: set[int]
) -> None:
    choice = Choice("mooncake", engine=ENGINE._replace(pool_blocks=100, pool_block_ps=pool_block_ps))
    store(choice.sim, 0, 60)
    assert choice.see(hits=[10, 0, 0], queued_prefill=queued_prefill).often() == expected


@pytest.mark.parametrize(("slo_ps", "expected"), [(910, 0), (890, REJECT)])
def test_mooncake_refuses_what_cannot_meet_the_limit(slo_ps: int, expected: int) -> None:
    """The best instance would take 90 x 10 ps."""
    assert Choice("mooncake", {"ttft_slo_s": slo_ps / 1e12}).see(hits=[10, 0, 0]).of() == expected


FIELDS = {"workload": {"builtin": "chatbot", "options": {"rate_per_s": 4.0, "duration_s": 60.0}}, "instances": 2}


def refuse_some(request: RoutedRequest, view: ClusterView) -> int:
    return REJECT if request.id % 5 == 0 else int(view.batch_size.argmin())


def test_results_leave_out_who_was_refused() -> None:
    result = simulate(make_scenario(FIELDS), router=refuse_some)
    table, summary = result.requests, result.summary
    refused, served = table[table["rejected"]], table[~table["rejected"]]
    assert len(refused) > 10 and summary["rejected"] == len(refused) and summary["requests"] == len(table)
    assert (refused["instance"] == -1).all() and (refused["hit_tokens"] == 0).all()
    assert (
        refused[["first_scheduled_s", "first_token_s", "finish_s", "queue_s", "ttft_s", "tpot_s", "e2e_s"]]
        .isna()
        .all(axis=None)
    )
    assert not served[["arrival_s", "ttft_s", "e2e_s"]].isna().any(axis=None)
    assert summary["ttft_s"]["mean"] == pytest.approx(served["ttft_s"].mean())
    assert (
        summary["output_tokens"]
        == served["output_tokens"].sum()
        == sum(i["output_tokens"] for i in summary["instances"])
    )
    assert summary["requests_per_s"] == pytest.approx(len(served) / (summary["end_s"] - summary["start_s"]))


def test_a_run_that_refuses_everybody_has_no_figures() -> None:
    summary = simulate(make_scenario(FIELDS), router=lambda request, view: REJECT).summary
    assert summary["rejected"] == summary["requests"] > 0
    assert summary["ttft_s"]["mean"] is None and summary["hit_ratio"] is None and summary["requests_per_s"] is None


def test_a_router_that_forgets_to_answer_refuses_nobody() -> None:
    with pytest.raises(SimError, match=r"the Python router chose None for request 0; .* or sim.REJECT to refuse it$"):
        simulate(make_scenario(FIELDS), router=lambda request, view: None)  # type: ignore[arg-type,return-value]
