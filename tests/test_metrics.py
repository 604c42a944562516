"""Definitions of the metrics, on cases small enough to check by hand."""

import numpy as np
import pytest

from sim import make_scenario, simulate
from sim.metrics import distribution, histogram_distribution, ratio
from workloads import Workload


def test_distribution_leaves_out_what_is_no_number():
    assert distribution(np.array([1.0, np.nan, 3.0])) == pytest.approx(
        {"mean": 2.0, "p50": 2.0, "p90": 2.8, "p95": 2.9, "p99": 2.98}
    )
    assert distribution(np.array([np.nan]))["mean"] is None


def test_histogram_distribution_is_right_to_half_a_bin():
    values = np.random.default_rng(0).lognormal(-4, 0.5, 100_000)
    edges_s = np.concatenate(([0.0], 1e-6 * 1.01 ** np.arange(2600), [np.inf]))
    counts = np.histogram(values, edges_s)[0]
    exact, binned = distribution(values), histogram_distribution(edges_s, counts)
    assert binned == pytest.approx(exact, rel=0.006)


def test_histogram_distribution_of_nothing():
    assert histogram_distribution(np.array([0.0, 1.0, np.inf]), np.zeros(2, np.int64))["p50"] is None


def test_ratio_of_nothing_is_none():
    assert ratio(1, 4) == 0.25 and ratio(0, 0) is None


SCENARIO = make_scenario({"workload": {"builtin": "chatbot", "options": {"requests": 500}}, "instances": 2})


def test_columns_follow_their_definitions():
    result = simulate(SCENARIO)
    table = result.requests
    assert np.allclose(table["ttft_s"], table["first_token_s"] - table["arrival_s"] + result.front_end_s)
    assert np.allclose(table["e2e_s"], table["finish_s"] - table["arrival_s"] + result.front_end_s)
    assert np.allclose(table["queue_s"], table["first_scheduled_s"] - table["arrival_s"])
    many = table["output_tokens"] > 1
    tpot_s = (table["finish_s"] - table["first_token_s"]) / (table["output_tokens"] - 1)
    assert np.allclose(table["tpot_s"][many], tpot_s[many]) and table["tpot_s"][~many].isna().all()


def test_itl_mean_agrees_with_the_requests():
    result = simulate(SCENARIO)
    table = result.requests
    exact = (table["finish_s"] - table["first_token_s"]).sum() / (table["output_tokens"] - 1).sum()
    assert result.summary["itl_s"]["mean"] == pytest.approx(exact, rel=0.005)


def test_series_shares_are_shares_and_add_up():
    result = simulate(SCENARIO)
    series = result.series
    assert series["busy_fraction"].between(0, 1 + 1e-12).all()
    assert series["kv_used_fraction"].between(0, 1).all()
    assert series["hit_ratio"].dropna().between(0, 1).all()
    assert list(series["time_s"].unique()[:3]) == [10.0, 20.0, 30.0]


def test_no_series_when_none_is_wanted():
    scenario = SCENARIO.model_copy(update={"series_interval_s": None})
    assert len(simulate(scenario).series) == 0


def test_one_output_token_has_no_tpot():
    workload = Workload.build(arrival_s=[0.0], input_tokens=[10], output_tokens=[1])
    summary = simulate(SCENARIO, workload=workload).summary
    assert summary["tpot_s"]["mean"] is None and summary["ttft_s"]["mean"] > 0


def test_lost_work_counts_as_busy():
    workload = Workload.build(arrival_s=[0.0], input_tokens=[8000], output_tokens=[1])
    fields = {"operations": [{"at_s": 0.25, "kind": "fail", "instance": 0}], "series_interval_s": 0.1, "instances": 2}
    result = simulate(make_scenario(SCENARIO.model_dump() | fields), workload=workload)
    busy_s = 0.1 * result.series.groupby("instance")["busy_fraction"].sum()
    assert result.series["busy_fraction"].between(0, 1 + 1e-9).all()
    assert busy_s[0] == pytest.approx(0.25)


def test_the_summary_says_what_was_given_in_python():
    def first(request, view):
        return 0

    workload = Workload.build(arrival_s=[0.0], input_tokens=[10], output_tokens=[1])
    given = simulate(SCENARIO, workload=workload, router=first).summary["given_in_python"]
    assert given["workload"] == "1 requests" and given["router"].endswith("first")
    assert simulate(SCENARIO).summary["given_in_python"] == {}


def test_sampling_changes_nothing():
    plain = simulate(SCENARIO.model_copy(update={"series_interval_s": None})).requests
    assert simulate(SCENARIO.model_copy(update={"series_interval_s": 0.5})).requests.equals(plain)
