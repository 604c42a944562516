"""SLOs: which requests a class takes, which targets they meet, and what a warm-up leaves out."""

import json

import numpy as np
import pandas as pd
import pytest

from sim import make_scenario, simulate
from sim.errors import SimError
from sim.scenario import SloClass
from sim.slo import NO_CLASS, judge, labels, slo_classes
from workloads import Workload

CHATBOT = {"workload": {"builtin": "chatbot", "options": {"requests": 600, "rate_per_s": 20.0}}, "instances": 2}


def workload(count: int = 6, **columns: object) -> Workload:
    ones = [1] * count
    return Workload.build(
        **{"arrival_s": np.arange(count), "input_tokens": ones, "output_tokens": ones, **columns}  # type: ignore[arg-type]
    )


MIXED = workload(
    category=[0, 0, 1, 1, 1, 0],
    category_names=["chat", "batch"],
    priority=[0, 1, 0, 1, 1, 0],
    client=[5, 5, 5, 7, 7, 7],
)


def test_a_request_belongs_to_the_first_class_that_takes_it():
    slo = [
        SloClass(category="batch", priority=1, e2e_s=60.0),
        SloClass(client=5, ttft_s=1.0),
        SloClass(ttft_s=2.0),
    ]
    assert slo_classes(slo, MIXED).tolist() == [1, 1, 1, 0, 0, 2]
    assert slo_classes(slo[:2], MIXED).tolist() == [1, 1, 1, 0, 0, NO_CLASS]
    assert labels(slo) == ["category batch, priority 1", "client 5", "all others"]


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ({"category": "chatt"}, "did you mean chat"),
        ({"priority": 2}, "0 to 1"),
        ({"client": 6}, "5 to 7"),
    ],
)
def test_a_class_of_requests_that_the_workload_lacks_is_an_error(selector, told):
    with pytest.raises(SimError, match=told):
        slo_classes([SloClass(**selector, ttft_s=1.0)], MIXED)


def table(**columns: list[float]) -> pd.DataFrame:
    count = len(columns["ttft_s"])
    return pd.DataFrame({"arrival_s": np.arange(count), "client": 0, **columns})


def test_targets_are_absolute_plus_slope_and_good_is_all_of_them():
    slo = [SloClass(ttft_s=1.0, ttft_s_per_1k_input_tokens=0.5, tpot_s=0.05)]
    requests = table(
        input_tokens=[1000, 1000, 4000, 1000, 1000],
        output_tokens=[10, 10, 10, 1, 10],
        ttft_s=[1.5, 1.51, 3.0, 1.0, 1.0],
        tpot_s=[0.05, 0.01, 0.01, np.nan, 0.06],
        e2e_s=[9.0] * 5,
    )
    judged = judge(slo, np.zeros(5, int), requests)
    assert judged["ttft_s"].tolist() == [1, 0, 1, 1, 1]
    assert judged["tpot_s"].tolist() == [1, 1, 1, 1, 0], "a single token has no TPOT and meets any"
    assert judged["e2e_s"].isna().all(), "no target"
    assert judged["good"].tolist() == [True, False, True, True, False]


def test_requests_without_a_class_are_not_judged_and_rejected_ones_miss_everything():
    slo = [SloClass(e2e_s_per_1k_input_tokens=1.0)]
    same = {"input_tokens": [500] * 3, "output_tokens": [1] * 3, "ttft_s": [0.1] * 3, "tpot_s": [np.nan] * 3}
    requests = table(**same, e2e_s=[0.4, 0.4, 0.6])
    assert judge(slo, np.array([0, NO_CLASS, 0]), requests)["good"].tolist() == [True, False]
    requests["rejected"] = [True, False, False]
    assert judge(slo, np.zeros(3, int), requests)["good"].tolist() == [False, True, False]


SLO = [
    {"priority": 0, "ttft_s": 0.2, "tpot_s": 0.02, "attainment": 0.5},
    {"itl_p99_s": 1e-3, "e2e_s": 3.0, "e2e_s_per_1k_input_tokens": 1.0, "attainment": 0.9},
]


def two_classes() -> Workload:
    """Half of the requests are of priority 1 and have longer prompts."""
    random = np.random.default_rng(3)
    second = random.random(2000) < 0.5
    return Workload.build(
        arrival_s=np.cumsum(random.exponential(0.4, 2000)),
        input_tokens=np.where(second, 4000, 200),
        output_tokens=random.integers(1, 200, 2000),
        priority=second.astype(int),
        client=random.integers(0, 4, 2000),
    )


def test_the_summary_counts_what_the_requests_say():
    result = simulate(make_scenario(CHATBOT | {"slo": SLO}), workload=two_classes())
    told, requests = result.summary["slo"], result.requests
    first, second = told["classes"]
    of_first = requests[requests["priority"] == 0]
    fast = of_first["ttft_s"] <= 0.2
    steady = (of_first["tpot_s"] <= 0.02) | (of_first["output_tokens"] == 1)
    assert first["requests"] == len(of_first) and first["class"] == "priority 0"
    assert first["attained"]["ttft_s"]["share"] == pytest.approx(fast.mean())
    assert first["attained"]["tpot_s"]["share"] == pytest.approx(steady.mean())
    assert first["good"]["share"] == pytest.approx((fast & steady).mean())
    assert first["good"]["low"] < first["good"]["share"] < first["good"]["high"]
    assert first["holds"] == (fast.mean() >= 0.5 and steady.mean() >= 0.5)
    span_s = result.summary["end_s"] - result.summary["start_s"]
    assert first["good_requests_per_s"] == pytest.approx((fast & steady).sum() / span_s)
    assert list(second["attained"]) == ["e2e_s"], "only metrics with a target"
    assert not second["holds"] and second["itl_p99_s"] > 1e-3 and second["attained"]["e2e_s"]["share"] > 0.9
    assert not told["holds"] and told["requests"] == 2000 and told["requests_without_slo"] == 0
    assert json.dumps(told)


def test_clients_and_windows_add_up_to_the_whole():
    result = simulate(make_scenario(CHATBOT | {"slo": SLO[:1]}), workload=two_classes())
    told, by_client, over_time = result.summary["slo"], result.slo_by_client, result.slo_over_time
    assert told["requests"] + told["requests_without_slo"] == 2000
    for part in (by_client, over_time):
        assert part["requests"].sum() == told["requests"]
        assert part["good_requests"].sum() == round(told["good"]["share"] * told["requests"])
        assert set(part["slo_class"]) == {"priority 0"}
    judged = result.judged
    assert by_client["client"].tolist() == [0, 1, 2, 3]
    assert by_client["ttft_s_attained"].tolist() == pytest.approx(judged.groupby("client")["ttft_s"].mean().tolist())
    assert by_client["e2e_s_attained"].isna().all()
    assert over_time["start_s"].is_monotonic_increasing and (over_time["start_s"] % 10 == 0).all()


def test_classes_change_no_latency_and_split_the_inter_token_ones():
    plain = simulate(make_scenario(CHATBOT), workload=two_classes())
    split = simulate(make_scenario(CHATBOT | {"slo": SLO}), workload=two_classes())
    assert plain.requests.equals(split.requests) and plain.itl.equals(split.itl)
    counts = split.cluster.state.itl_counts
    for index, of_class in split.requests.groupby("priority"):
        assert counts[index].sum() == (of_class["output_tokens"] - 1).sum()
    assert counts.sum(axis=0).tolist() == plain.cluster.state.itl_counts[0].tolist()


def test_a_warm_up_is_simulated_but_not_measured():
    whole = simulate(make_scenario(CHATBOT | {"slo": SLO}), workload=two_classes())
    late = simulate(make_scenario(CHATBOT | {"slo": SLO, "warmup_s": 50.0}), workload=two_classes())
    measured = whole.requests["arrival_s"] >= 50.0
    assert late.requests.drop(columns="measured").equals(whole.requests.drop(columns="measured"))
    assert late.requests["measured"].equals(measured.rename("measured")) and 0 < measured.sum() < 2000
    kept, told = whole.requests[measured], late.summary
    assert told["requests"] == len(kept) and told["warmup_requests"] == 2000 - len(kept)
    assert told["start_s"] == kept["arrival_s"].min() and told["output_tokens"] == kept["output_tokens"].sum()
    assert told["ttft_s"]["mean"] == pytest.approx(kept["ttft_s"].mean())
    assert told["slo"]["requests"] == len(kept)
    assert late.itl["count"].sum() == (kept["output_tokens"] - 1).sum()


def test_follow_ups_count_from_their_own_arrival():
    """In closed loop a follow-up's arrival is known when its parent ends, whose gaps the warm-up leaves out."""
    result = simulate(make_scenario(CHATBOT | {"warmup_s": 40.0}))
    kept = result.requests[result.requests["measured"]]
    assert (kept["turn"] > 0).any() and (result.requests["turn"][~result.requests["measured"]] > 0).any()
    assert kept["arrival_s"].min() >= 40.0
    assert result.itl["count"].sum() == (kept["output_tokens"] - 1).sum()


def test_a_warm_up_beyond_the_last_arrival_is_an_error():
    with pytest.raises(SimError, match="warmup_s: no request arrives after 100 s"):
        simulate(make_scenario(CHATBOT | {"warmup_s": 100.0}), workload=workload())


def test_run_prints_and_writes_attainment(servesim, tmp_path):
    small = ["--builtin", "chatbot", "--set", "workload.options.requests=300", "--instances", 2]
    status, printed, _ = servesim(
        *["run", *small, "--slo", "category=chatbot,ttft_s=2,tpot_s=0.05", "--slo", "e2e_s=9", "--out", tmp_path]
    )
    assert status == 0 and "category chatbot" in printed and "all others" in printed and "holds" in printed
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["slo"]["classes"][0]["slo"] == {
        "category": "chatbot",
        "ttft_s": 2.0,
        "tpot_s": 0.05,
        "attainment": 0.99,
    }
    assert summary["slo"]["classes"][1]["holds"] is None, "nobody is left for it"
    by_client = pd.read_parquet(tmp_path / "slo_by_client.parquet")
    assert by_client["requests"].sum() == 300
    assert len(pd.read_parquet(tmp_path / "slo_over_time.parquet")) > 0


MISTAKES = {
    "unknown target": (["--slo", "ttft=1"], "did you mean 'ttft_s'"),
    "no target": (["--slo", "category=chatbot"], "has no target"),
    "no value": (["--slo", "ttft_s"], "NAME=VALUE"),
    "unknown category": (["--slo", "category=chat,ttft_s=1"], "did you mean chatbot"),
    "nobody left": (["--slo", "ttft_s=1", "--slo", "priority=0,ttft_s=1"], "put it last"),
    "twice the same": (["--slo", "priority=0,tpot_s=1", "--slo", "priority=0,ttft_s=1"], "same selectors"),
    "share above one": (["--slo", "ttft_s=1,attainment=99"], "slo.0.attainment"),
    "warm-up": (["--set", "warmup_s=-1"], "warmup_s"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_is_one_line(servesim, mistake):
    options, told = MISTAKES[mistake]
    status, printed, error = servesim("run", "--builtin", "chatbot", *options)
    assert status == 1 and printed == "" and told in error and error.count("\n") == 1
