"""Plans: the search, what counts as holding, costs, and `servesim plan` as a whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles import load_gpu, load_prices
from sim import SimError, make_scenario, simulate
from sim.planning import CostModel, Loads
from sim.planning.candidates import group, mixed, rates
from sim.planning.evaluate import Trial
from sim.planning.pareto import frontier
from sim.planning.planner import Tried
from sim.planning.search import least
from sim.planning.verdict import Run, Verdict

API = {"workload": {"builtin": "api"}, "slo": [{"ttft_s": 1.0, "tpot_s": 0.05, "attainment": 0.95}]}
QUICK = ["--builtin", "api", "--slo", "ttft_s=1,tpot_s=0.05,attainment=0.95", "--requests", 1000, "--jobs", 1]


# --- search -----------------------------------------------------------------------------------------------------------


def settle(search, holds):
    """The search's answer, and the sizes that it asked for with all seeds and with one."""
    asked = []
    try:
        question = next(search)
        while True:
            asked.append(question)
            question = search.send(holds(question))
    except StopIteration as ended:
        return ended.value, asked


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 4096))
def test_the_least_size_is_found_with_few_questions(answer, start, highest):
    found, asked = settle(least(min(start, highest), lambda size: size, 1, highest), lambda one: one.size >= answer)
    assert found == (answer if answer <= highest else None)
    assert len(asked) <= 2 * highest.bit_length() + 4


@given(st.integers(-500, 200), st.integers(2, 60))
def test_equal_strides_reach_both_ways(answer, stride):
    found, asked = settle(least(0, lambda size: stride, -500, 200), lambda one: one.size >= answer)
    assert found == answer
    assert len(asked) <= 700 // stride + stride.bit_length() + 6


@given(st.integers(2, 60), st.integers(-3, 3), st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_a_first_look_gets_wrong_is_put_right(answer, off, noise):
    def holds(question):
        if not question.all_seeds:
            return question.size >= answer + off
        near = question.size - answer + 4
        return noise[near] if 0 <= near < 8 else near >= 8

    found, asked = settle(least(1, lambda size: size, 1, 100), holds)
    told = {one.size: holds(one) for one in asked if one.all_seeds}
    assert told[found] and (found == 1 or told[found - 1] is False)


def test_none_holds():
    assert settle(least(1, lambda size: size, 1, 100), lambda one: False)[0] is None
    assert settle(least(1, lambda size: size, 1, 100), lambda one: not one.all_seeds)[0] is None


# --- verdicts ---------------------------------------------------------------------------------------------------------


def verdict(*shares, saturated=False, wanted=0.99):
    attained = [{"all requests: ttft_s": (share, wanted)} for share in shares]
    return Verdict(tuple(Run(one, 1.0, 0.1, saturated, 1.0, 10.0, 1000.0, (0.5,)) for one in attained))


def test_a_verdict_is_of_the_whole_interval():
    assert verdict(0.995, 0.996, 0.997).told == "holds"
    assert verdict(0.95, 0.951, 0.952).told == "misses"
    assert verdict(0.985, 0.99, 0.999).told == "unclear" and verdict(0.985, 0.99, 0.999).seeds_holding == 2
    assert verdict(0.995, 0.996, saturated=True).told == "misses"
    assert verdict(1.0, 1.0, wanted=1.0).holds
    assert (verdict(0.99).told, verdict(0.9899).told) == ("holds", "misses")  # one seed has no interval
    assert verdict(0.9, 1.0).attainment.high == 1.0


def test_the_tightest_target_is_told():
    attained = {"a: ttft_s": (0.97, 0.9), "b: ttft_s": (0.98, 0.99)}
    both = Verdict((Run(attained, 1.0, 0.1, False, 1.0, 1.0, 1.0, (0.5,)),))
    assert both.tightest == "b: ttft_s" and both.wanted == 0.99 and both.told == "misses"


# --- costs ------------------------------------------------------------------------------------------------------------


def test_costs_by_hand():
    scenario = make_scenario(API)
    costs = CostModel.make(["H20", "H800"], {"h20": 1.5}, 0.2)
    cost = costs.of([group(scenario, "H20", 2, 3), group(scenario, "H800", 1, 1)], [0.25, 1.0])
    h800 = load_prices().gpu_hour["H800"].value
    assert cost.gpus_per_hour == pytest.approx(6 * 1.5 + h800)
    assert cost.power_kw == pytest.approx((6 * (80 + 320 * 0.25) + 700) / 1000)
    assert cost.per_hour == pytest.approx(cost.gpus_per_hour + 0.2 * cost.power_kw)
    assert cost.per_million(1000.0) == pytest.approx(cost.per_hour / 3.6)
    assert "price of H800" in costs.assumptions and "price of H20" not in costs.assumptions
    assert "price of electricity" not in costs.assumptions


def test_every_shipped_gpu_has_a_price_that_is_marked_as_assumed():
    prices = load_prices()
    assert all(price.assumption for price in [*prices.gpu_hour.values(), prices.kwh])
    CostModel.make(["a100", "h100", "h20", "h200", "h800", "l40s"], {}, None)


def test_a_gpu_without_a_price_needs_one(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(load_gpu("H20").model_dump_json().replace('"H20"', '"H21"'))
    with pytest.raises(SimError, match=r"H21 has no price; give it one, as in --price H21=2\.5"):
        CostModel.make([str(own)], {}, None)
    assert CostModel.make([str(own)], {"H21": 2.5}, None).gpu_hour == {"h21": 2.5}
    with pytest.raises(SimError, match="--price: 'H2O' is unknown; known: H20"):
        CostModel.make(["H20"], {"H2O": 1.0}, None)


def test_the_frontier_is_what_nothing_beats():
    costs, scenario = CostModel.make(["H20"], {}, None), make_scenario(API)
    fleets = {n: (group(scenario, "H20", 1, n),) for n in range(1, 6)}
    shares = {1: 0.5, 2: 0.9, 3: 0.8, 4: 0.9, 5: 1.0}
    tried = [Tried(Trial(one, 1.0), verdict(shares[n]), costs.of(one, [0.5])) for n, one in fleets.items()]
    assert [one.trial.groups[0].instances for one in frontier(tried)] == [1, 2, 5]


# --- loads and candidates ---------------------------------------------------------------------------------------------


def test_a_recipe_comes_at_the_asked_rate_after_its_warm_up():
    scenario = make_scenario({"workload": {"builtin": "chatbot"}, "slo": [{"ttft_s": 2.0}], "instances": 4})
    load = Loads(scenario, 8000).at(8.0)
    assert load.measured_s == pytest.approx(1000) and load.scenario.warmup_s > 3000  # conversations go on for hours
    requests = simulate(load.scenario).requests
    inside = requests["arrival_s"].between(load.scenario.warmup_s, load.end_s).sum()
    assert inside / load.measured_s == pytest.approx(8.0, rel=0.06)


def test_a_recipe_of_single_requests_is_warm_soon_and_own_warm_ups_stay():
    load = Loads(make_scenario(API), 1000).at(10.0)
    assert (load.scenario.warmup_s, load.end_s) == (60.0, 160.0)
    assert load.scenario.workload.options == {"rate_per_s": 10.0, "duration_s": 160.0}
    assert Loads(make_scenario(API | {"warmup_s": 5.0}), 1000).at(10.0).end_s == 105.0


def test_a_trace_is_stretched(tmp_path):
    rows = "".join(f"{i * 0.5},100,10\n" for i in range(401))
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    loads = Loads(make_scenario(API | {"workload": {"trace": str(tmp_path / "t.csv"), "format": "csv"}}), 1000)
    assert loads.own_rate_per_s == pytest.approx(2.005)
    assert loads.at(loads.own_rate_per_s).scenario.workload.rate_scale == 1.0
    assert loads.at(4.01).end_s == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("workload", "named"),
    [
        ({"options": {"duration_s": 5.0}}, "workload.options.duration_s"),
        ({"requests": 10}, "start_s, end_s, requests"),
        ({"rate_scale": 2.0}, "leave out every scale"),
    ],
)
def test_a_plan_chooses_rate_and_length_itself(workload, named):
    with pytest.raises(SimError, match=named):
        Loads(make_scenario(API | {"workload": {"builtin": "api"} | workload}), 1000)


def test_mixes_weigh_an_instance_by_its_share_alone():
    scenario = make_scenario(API)
    first, second = (Trial((group(scenario, gpu, 1, n),), 40.0) for gpu, n in (("H20", 12), ("H800", 4)))
    candidates = mixed(scenario, first, second)
    assert [(one.name, one.start, one.highest) for one in candidates] == [
        ("3 x H20 + H800", 3, 3),
        ("6 x H20 + H800", 2, 3),
        ("9 x H20 + H800", 1, 3),
    ]
    assert [one.weight for one in candidates[0].trial(2).groups] == [1.0, 3.0]
    assert candidates[0].trial(2).label == "3 x H20 + 2 x H800"
    assert mixed(scenario, second, Trial((group(scenario, "H20", 1, 1),), 40.0)) == []


def test_rates_fall_by_the_tolerance():
    candidate = rates(make_scenario(API | {"instances": 3}), 0.02)
    assert [candidate.trial(size).rate_per_s for size in (-1, 0, 1)] == [3.06, 3.0, 2.9412]
    assert candidate.trial(candidate.stride(0)).rate_per_s == pytest.approx(1.5, rel=0.02)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned():
    """Answers of the command by its arguments: a plan is made once."""
    return {}


@pytest.fixture
def plan(servesim, planned):
    def ask(*arguments):
        if arguments not in planned:
            status, printed, error = servesim("plan", *QUICK, *arguments, "--json")
            assert status == 0, error
            planned[arguments] = json.loads(printed)
        return planned[arguments]

    return ask


INSTANCES = ("--rate", 60, "--gpu", "H20", "--gpu", "L40S", "--seeds", 3)


def test_the_answer_holds_and_its_lower_neighbour_does_not(plan):
    told = plan(*INSTANCES)
    assert {one["candidate"] for one in told["candidates"]} == {"H20", "L40S"}
    assert told["unit"] == "instances" and told["answer"] == told["candidates"][0]["answer"] > 1
    assert [one["cost_per_hour"] for one in told["candidates"]] == sorted(
        one["cost_per_hour"] for one in told["candidates"]
    )
    for one in told["candidates"]:
        assert one["confidence"]["low"] >= one["confidence"]["wanted"] == 0.95
        assert one["confidence"]["seeds"] == 3
        below, above = one["neighbours"]
        assert (below["instances"], above["instances"]) == (one["answer"] - 1, one["answer"] + 1)
        assert not below["holds"] and below["attainment"] < one["attainment"]
        assert one["measured"]["requests_per_s"] == pytest.approx(60, rel=0.1)
        tokens_per_hour = 3600 * one["measured"]["output_tokens_per_s"]
        assert one["cost_per_million_tokens"] == pytest.approx(1e6 * one["cost_per_hour"] / tokens_per_hour)
    assert any("price of H20" in name for name in told["assumptions"])


def test_the_scenario_of_an_answer_can_be_run(plan):
    told = plan(*INSTANCES)
    summary = simulate(make_scenario(told["scenario"])).summary
    assert summary["slo"]["holds"] and len(summary["instances"]) == told["answer"]


def test_the_same_question_has_the_same_answer_on_any_number_of_processes(servesim, plan, tmp_path):
    again = [*QUICK[:-1], 2, *INSTANCES, "--json", "--output", tmp_path]
    status, printed, _ = servesim("plan", *again)
    assert status == 0 and json.loads(printed) == plan(*INSTANCES)
    assert (tmp_path / "plan.json").read_text() == printed
    assert (tmp_path / "pareto.png").stat().st_size > 5000


def test_a_mix_is_beside_the_pure_fleets(plan):
    told = plan("--rate", 150, "--mix", "L40S+H20", "--seeds", 2)
    pure = {one["candidate"]: one["answer"] for one in told["candidates"] if "+" not in one["fleet"]}
    mixes = [one for one in told["candidates"] if "+" in one["fleet"]]
    assert mixes and set(pure) == {"H20", "L40S"}
    for one in mixes:
        counts = one["instances_by_group"]
        assert counts["L40S"] < pure["L40S"] and counts["H20"] < pure["H20"]


def test_the_highest_rate_of_a_fleet(plan):
    told = plan("--find", "rate", "--tolerance", 0.1, "--seeds", 2, "--set", "instances=2")
    assert told["unit"] == "requests_per_s" and told["fleet"] == "2 x H20"
    above, below = told["neighbours"]
    assert above["requests_per_s"] == pytest.approx(1.1 * told["answer"], rel=1e-3) and not above["holds"]
    assert below["requests_per_s"] == pytest.approx(told["answer"] / 1.1, rel=1e-3)
    assert told["confidence"]["low"] >= 0.95


def test_what_does_not_fit_is_left_out_and_told(servesim):
    arguments = ["--rate", 1, "--model", "qwen2.5-72b", "--gpu", "L40S", "--tp", 1, "--tp", 8, "--seeds", 1]
    question = ["--builtin", "api", "--requests", 1000, "--jobs", 1, "--slo", "ttft_s=20,tpot_s=1"]
    status, printed, _ = servesim("plan", *question, *arguments)
    assert status == 0 and "L40S: fleet: group 'L40S'" in printed and "x L40S (TP 8)" in printed
    status, _, error = servesim("plan", *question, *arguments[:-4], "--seeds", 1)
    assert status == 1 and error.count("\n") == 1 and "L40S" in error


def test_targets_that_no_fleet_meets_are_told_with_the_latency_alone(servesim):
    status, _, error = servesim("plan", *QUICK[:2], "--slo", "ttft_s=0.001", "--rate", 5, "--jobs", 1)
    assert status == 1 and error.count("\n") == 1
    assert "no number of instances can hold" in error and "p99 TTFT" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--builtin", "api", "--rate", 5], "slo: a plan needs one"),
        (QUICK, "--rate: is missing"),
        ([*QUICK, "--rate", 5, "--find", "instance"], "did you mean instances"),
        ([*QUICK, "--rate", 5, "--find", "rate"], "leave out --rate"),
        ([*QUICK, "--rate", 5, "--gpu", "H21"], "unknown GPU 'H21'"),
        ([*QUICK, "--rate", 5, "--mix", "H20"], "expected two different GPUs"),
        ([*QUICK, "--rate", 5, "--price", "H20=cheap"], "expected dollars an hour"),
        ([*QUICK, "--rate", 5, "--set", "autoscaler={max_instances: 3}"], "autoscaler: a plan is for a fleet"),
        ([*QUICK, "--rate", 5, "--set", "fleet=[{name: a}]"], "use --find rate"),
        ([*QUICK, "--rate", 500, "--seeds", 1, "--max-instances", 1], "does not hold with 1 x H20 at 500"),
    ],
)
def test_a_wrong_question_is_one_line(servesim, arguments, message):
    status, _, error = servesim("plan", *arguments)
    assert status == 1 and error.count("\n") == 1 and message in error
