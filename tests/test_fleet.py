"""Fleets of several groups: scenarios, weights, and what each group's own engine and step times do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import assert_same, examples, flat_steps, kernel_requests, outcomes, run_kernel
from hypothesis import given
from hypothesis import strategies as st
from oracle import Row
from oracle.scenarios import Scenario, scenarios

from sim import SimError, make_scenario, read_scenario, simulate
from sim.cluster import Cluster, Operation
from sim.kernel.build import Engine, Group
from sim.kernel.steptime import StepTable
from workloads import Workload

ENGINE = Engine(num_blocks=100, block_size=2, max_num_seqs=32, max_num_batched_tokens=60, async_scheduling=False)
TEN, THIRTY = (StepTable(**vars(flat_steps(step_ps))) for step_ps in (10, 30))
CHATS: dict[str, Any] = {"workload": {"builtin": "chatbot", "requests": 60}}


def weighted(weights: list[float], rows: list[Row], router: Any, **options: Any) -> list[int]:
    """To which instance each request goes, one instance a weight."""
    groups = [Group(ENGINE, TEN, 1, weight, f"group {at}") for at, weight in enumerate(weights)]
    cluster = Cluster(kernel_requests(rows), groups, router, **options)
    cluster.run()
    return cluster.state.req["instance"].tolist()


# --- groups -----------------------------------------------------------------------------------------------------------


@examples(60)
@given(scenarios(), st.integers(0, 4))
def test_like_groups_are_one(scenario: Scenario, first: int) -> None:
    whole = replace(scenario.groups[0], instances=max(1, scenario.groups[0].instances))
    first = min(first, whole.instances)
    parts = [replace(whole, instances=first), replace(whole, instances=whole.instances - first)]
    scenario = replace(scenario, groups=[whole], operations=[])
    split = replace(scenario, groups=parts)
    assert_same(outcomes(run_kernel(split)), outcomes(run_kernel(scenario)))


def test_each_group_has_its_own_engine_and_step_times() -> None:
    """One seat in the first group, in whose queue the third request waits; steps three times as long in the second."""
    groups = [Group(ENGINE._replace(max_num_seqs=1), TEN, 1), Group(ENGINE, THIRTY, 1)]
    cluster = Cluster(kernel_requests([Row(0, 3, 2)] * 4), groups, "round-robin")
    cluster.run()
    assert cluster.state.req["instance"].tolist() == [0, 1, 0, 1]
    assert cluster.state.req["finish"].tolist() == [20, 60, 40, 60]


def test_an_instance_is_added_to_its_group() -> None:
    """The second group has none at first; its instance comes at 5 ps."""
    groups = [Group(ENGINE, TEN, 1), Group(ENGINE._replace(num_blocks=50), THIRTY, 0)]
    cluster = Cluster(kernel_requests([Row(0, 3, 2), Row(6, 3, 2), Row(7, 3, 2)]), groups, "least-requests")
    cluster.run([Operation(5, "add", group=1)])
    assert cluster.state.inst["group"].tolist() == [0, 1]
    assert cluster.state.inst["usable"].tolist() == [99, 49]
    assert cluster.state.req["finish"][1] == 66


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"block_size": 4}, r"^engine.block_size: 4 in group 'b' and 2 in 'a'; it has to be the same in all groups$"),
        ({"queue": "priority"}, r"^engine.queue: 'priority' in group 'b' and 'fcfs' in 'a'"),
        ({"num_blocks": 3}, r"^group 'b': request 0: .* need 4 KV blocks, an instance has 2"),
        ({"max_num_seqs": 64}, r"^group 'b': engine.max_num_batched_tokens: 60 is below max_num_seqs 64"),
    ],
)
def test_groups_that_do_not_go_together(changed: dict[str, Any], message: str) -> None:
    groups = [Group(ENGINE, TEN, 1, name="a"), Group(ENGINE._replace(**changed), TEN, 1, name="b")]
    with pytest.raises(SimError, match=message):
        Cluster(kernel_requests([Row(0, 7, 2)]), groups, "round-robin")


def test_a_fleet_needs_an_instance() -> None:
    with pytest.raises(SimError, match=r"^fleet: no group has an instance at the start"):
        Cluster(kernel_requests([Row(0, 7, 2)]), [Group(ENGINE, TEN, 0)], "round-robin")


# --- weights ----------------------------------------------------------------------------------------------------------


def test_round_robin_by_weight_is_smooth() -> None:
    """nginx's example: 5, 1, 1 gives a a b a c a a."""
    rows = [Row(at, 1, 1) for at in range(14)]
    assert weighted([5, 1, 1], rows, "round-robin") == [0, 0, 1, 0, 2, 0, 0] * 2


def test_random_by_weight() -> None:
    """2000 draws of three in four: 1500, with a standard deviation of 19."""
    assert 1420 < weighted([3, 1], [Row(at * 100, 1, 1) for at in range(2000)], "random").count(0) < 1580


@pytest.mark.parametrize("router", ["least-requests", "least-tokens", "vllm", "lmetric", "dynamo", "session-affinity"])
def test_a_load_counts_by_weight(router: str) -> None:
    """Of equal requests at once, an instance of weight 2 gets about twice as many; a product of loads counts once."""
    chosen = weighted([2, 1], [Row(0, 2, 20)] * 18, router)
    assert chosen.count(0) == {"lmetric": 11}.get(router, 12)


def test_equal_weights_change_nothing() -> None:
    rows = [Row(at // 3, 2 + at % 5, 1 + at % 7) for at in range(60)]
    for router in ("random", "round-robin", "least-tokens", "power-of-two", "lmetric", "linear"):
        assert weighted([3, 3, 3], rows, router) == weighted([1, 1, 1], rows, router), router


def test_a_formula_and_a_python_router_see_weights() -> None:
    rows = [Row(at // 3, 2 + at % 5, 1 + at % 7) for at in range(60)]
    formula = weighted([2, 0.5, 1], rows, "score", router_options={"formula": "batch / weight"})
    assert formula == weighted([2, 0.5, 1], rows, "least-requests")
    assert set(weighted([2, 0.5, 1], rows, lambda request, view: int(view.weight.argmax()))) == {0}


@pytest.mark.parametrize(("router", "options"), [("linear", {}), ("score", {"formula": "batch"})])
def test_a_router_that_heeds_no_weights(router: str, options: dict[str, Any]) -> None:
    message = (
        r"^fleet: weight: the router .* heeds no weights; leave them out, use dynamo, .*or a formula with `weight`"
    )
    with pytest.raises(SimError, match=message):
        weighted([2, 1], [Row(0, 1, 1)], router, router_options=options)


# --- scenarios --------------------------------------------------------------------------------------------------------


def test_a_group_has_the_scenario_s_fields_where_it_has_none() -> None:
    scenario = make_scenario(
        CHATS
        | {
            "gpu": "H100",
            "engine": {"max_num_seqs": 64, "watermark": 0.1},
            "fleet": [
                {"name": "a", "instances": 2},
                {"name": "b", "gpu": "H800", "tp": 2, "weight": 2.0, "engine": {"max_num_seqs": 128}},
            ],
        }
    )
    a, b = scenario.groups()
    assert (a.gpu, a.tp, a.instances, a.weight, a.engine.max_num_seqs, a.engine.watermark) == ("H100", 1, 2, 1, 64, 0.1)
    assert (b.gpu, b.tp, b.instances, b.weight, b.engine.max_num_seqs, b.engine.watermark) == (
        "H800",
        2,
        1,
        2,
        128,
        0.1,
    )
    assert scenario.instances == 3
    assert make_scenario(json.loads(scenario.model_dump_json())) == scenario


GROUP: dict[str, Any] = {"name": "a"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fleet": []}, "fleet: list should have at least 1 item"),
        ({"fleet": [{}]}, "fleet.0.name: is missing"),
        ({"fleet": [GROUP, GROUP]}, "fleet: two groups have the name 'a'; give each its own"),
        ({"fleet": [GROUP], "instances": 2}, "`instances` goes with instances that are all alike"),
        ({"fleet": [GROUP | {"wieght": 2.0}]}, "fleet.0.wieght: unknown key; did you mean 'weight'"),
        ({"fleet": [GROUP | {"weight": 0}]}, "fleet.0.weight: input should be"),
        (
            {"fleet": [GROUP | {"engine": {"max_seqs": 2}}]},
            "fleet.0.engine.max_seqs: unknown key; did you mean 'max_num",
        ),
        (
            {"fleet": [GROUP], "operations": [{"at_s": 1, "kind": "add", "group": "b"}]},
            "operations.0.group: 'b' is unknown; known: a",
        ),
        (
            {"fleet": [GROUP], "operations": [{"at_s": 1, "kind": "fail", "instance": 0, "group": "a"}]},
            "operations.0.group: only `add` starts an instance; leave it out",
        ),
    ],
)
def test_a_mistake_in_a_fleet_is_one_clear_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SimError) as error:
        make_scenario(CHATS | fields)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"gpu": "H2O"}, "fleet: group 'b': unknown GPU 'H2O'; did you mean 'h20'"),
        ({"model": "llama-3-70b"}, "fleet: group 'b': "),
    ],
)
def test_a_group_that_cannot_be_deployed_is_named(group: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        simulate(make_scenario(CHATS | {"fleet": [{"name": "a"}, {"name": "b"} | group]}))
    assert str(error.value).startswith(message)


def test_files_of_a_group_are_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "scenario.yaml").write_text(
        "workload: {builtin: chatbot}\nfleet:\n  - {name: a, gpu: mine.yaml}\n  - {name: b}\n"
    )
    fleet = read_scenario(tmp_path / "scenario.yaml")["fleet"]
    assert fleet == [{"name": "a", "gpu": str(tmp_path / "mine.yaml")}, {"name": "b"}]


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_fleet_of_one_group_is_the_flat_scenario() -> None:
    flat = simulate(make_scenario(CHATS | {"instances": 2}))
    fleet = simulate(make_scenario(CHATS | {"fleet": [{"name": "only", "instances": 2}]}))
    assert fleet.requests.equals(flat.requests) and fleet.series.equals(flat.series)
    assert fleet.summary["kv_blocks"] == flat.summary["kv_blocks"] == fleet.summary["groups"][0]["kv_blocks"]
    assert [group["name"] for group in flat.summary["groups"]] == ["all"]


def test_results_tell_the_groups_apart() -> None:
    """The same instances, half of them with another engine's front end, and with little memory."""
    scenario = make_scenario(
        CHATS
        | {
            "router": "round-robin",
            "fleet": [{"name": "a"}, {"name": "b", "serving_engine": "sglang", "engine": {"num_blocks": 3000}}],
            "operations": [{"at_s": 1, "kind": "add", "group": "b"}],
        }
    )
    result = simulate(scenario)
    a, b = result.summary["groups"]
    assert (a["instances"], b["instances"], b["kv_blocks"], result.summary["kv_blocks"]) == (1, 2, 3000, None)
    assert a["requests"] + b["requests"] == 60 and b["requests"] > a["requests"]
    assert [one["group"] for one in result.summary["instances"]] == ["a", "b", "b"]
    front_end_s = result.requests["ttft_s"] - (result.requests["first_token_s"] - result.requests["arrival_s"])
    of_a = result.requests["instance"] == 0
    lengths = result.requests["input_tokens"]
    assert np.polyfit(lengths[of_a], front_end_s[of_a], 1)[1] != np.polyfit(lengths[~of_a], front_end_s[~of_a], 1)[1]
    assert result.series["kv_used_fraction"].between(0, 1).all()
    assert {path.split(".")[0] for path in result.summary["assumptions"]} == {"a", "b"}


def test_lmetric_gives_the_faster_gpu_more_prefill() -> None:
    """An H800 has 6.7 times the FLOPS of an H20: long prompts with short answers go where they are computed sooner."""
    random = np.random.default_rng(1)
    prompts = Workload.build(
        arrival_s=np.cumsum(random.exponential(0.05, 400)),
        input_tokens=np.full(400, 4000),
        output_tokens=np.full(400, 4),
    )
    fleet = [{"name": "h20", "gpu": "H20", "instances": 2}, {"name": "h800", "gpu": "H800", "instances": 2}]
    slow, fast = simulate(make_scenario(CHATS | {"fleet": fleet}), workload=prompts).summary["groups"]
    assert fast["requests"] > 2 * slow["requests"] > 0
    assert fast["ttft_s"]["mean"] < slow["ttft_s"]["mean"]


def test_the_command_prints_the_fleet(servesim, tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "workload: {builtin: chatbot, requests: 30}\n"
        "fleet:\n  - {name: a, instances: 2}\n  - {name: b, gpu: H800, tp: 2, instances: 1}\n"
    )
    status, printed, _ = servesim("run", path)
    assert status == 0 and "30 requests on 2 x H20 + 1 x H800 (TP 2), qwen2.5-7b: " in printed
