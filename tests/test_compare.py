"""Policies side by side: the statistics by hand, the pairing, the files, and what happens when a run fails."""

import base64
import hashlib
import json
import math
import os
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sim.compare.cells
import sim.compare.folder
from sim import make_scenario, simulate
from sim.cells import row
from sim.compare import Policy, compare, read_policies
from sim.compare.cells import Cell, Failure, Run, run_cells
from sim.compare.curves import LATENCIES, Curves, edges_s, total
from sim.compare.figures import FIGURES
from sim.compare.folder import write
from sim.compare.metrics import METRICS, SLO_METRICS
from sim.compare.notes import notes
from sim.compare.table import lines
from sim.errors import SimError
from sim.statistics import paired_difference, t_interval
from workloads import generate
from workloads.workload import COLUMNS

DOC = Path(__file__).parents[1] / "docs" / "compare.md"
WORKLOAD = {"builtin": "chatbot", "options": {"requests": 150, "rate_per_s": 50.0, "between_s": 1.0}}
SMALL = ["--set", f"workload={json.dumps(WORKLOAD)}", "--set", "instances=2"]
ROUTERS = ["--router", "round-robin", "--router", "vllm", "--router", "lmetric"]
NEVER_SERVED = [{"at_s": 0.5, "kind": "fail", "instance": i} for i in (0, 1)]


def policy(router: str, name: str | None = None, **fields) -> Policy:
    return Policy(name or router, make_scenario({"workload": WORKLOAD, "instances": 2, "router": router} | fields))


@pytest.fixture(scope="module")
def comparison():
    return compare([policy("round-robin"), policy("lmetric")], seeds=3)


@pytest.fixture(scope="module")
def folder(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison")
    write(comparison, path)
    return path


# --- statistics -------------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_students_table():
    five = t_interval([1, 2, 3, 4, 5])  # s = sqrt(2.5), t(4) = 2.776
    assert (five.seeds, five.mean) == (5, 3.0)
    assert five.high - 3 == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert 3 - five.low == pytest.approx(five.high - 3)
    two = t_interval([0, 2])  # s = sqrt(2), t(1) = 12.706
    assert (two.low, two.high) == pytest.approx((1 - 12.706205, 1 + 12.706205), rel=1e-6)


def test_too_few_values_have_no_interval():
    one = t_interval([math.nan, 4.0])
    assert (one.seeds, one.mean, one.sign) == (1, 4.0, 0) and math.isnan(one.low) and math.isnan(one.high)
    none = t_interval([math.nan])
    assert none.seeds == 0 and math.isnan(none.mean) and none.sign == 0


def test_pairing_cancels_what_the_seeds_share():
    baseline, other = [10.0, 20.0, 30.0, 40.0], [11.0, 22.0, 33.0, 44.0]
    interval, relative = paired_difference(other, baseline)
    # Of 1, 2, 3, 4: mean 2.5, s = sqrt(5 / 3), t(3) = 3.182446
    half = 3.182446 * math.sqrt(5 / 3 / 4)
    assert (interval.low, interval.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-6)
    assert interval.sign == 1 and relative == pytest.approx(0.1)
    assert paired_difference(baseline, other)[0].sign == -1
    assert t_interval(other).low < t_interval(baseline).high  # without the pairs, nothing could be told


def test_seeds_without_a_pair_do_not_count():
    interval, relative = paired_difference([1.0, math.nan, 5.0], [2.0, 100.0, math.nan])
    assert (interval.seeds, interval.mean, relative) == (1, -1.0, -0.5)
    assert math.isnan(paired_difference([1.0], [0.0])[1])


def test_intervals_cover_the_truth_as_often_as_they_say():
    drawn = np.random.default_rng(0).normal(7.0, 3.0, (4000, 4))
    intervals = [t_interval(values) for values in drawn]
    covered = np.mean([interval.low <= 7.0 <= interval.high for interval in intervals])
    assert covered == pytest.approx(0.95, abs=0.011)  # three standard deviations of 4,000 draws


# --- the runs ---------------------------------------------------------------------------------------------------------


def test_every_policy_serves_the_same_requests_of_a_seed(monkeypatch):
    served = {}
    run_scenario = sim.compare.cells.run_scenario

    def digest(workload):
        columns = b"".join(getattr(workload, name).tobytes() for name in COLUMNS)
        return hashlib.sha256(columns).hexdigest()

    def recording(scenario, workload):
        before = digest(workload)
        result = run_scenario(scenario, workload)
        assert digest(workload) == before
        served[scenario.router, scenario.seed] = before
        return result

    monkeypatch.setattr(sim.compare.cells, "run_scenario", recording)
    compare([policy("round-robin"), policy("random"), policy("lmetric")], seeds=2)
    assert len(served) == 6
    for seed in (0, 1):
        assert len({served[router, seed] for router in ("round-robin", "random", "lmetric")}) == 1
    assert served["random", 0] != served["random", 1]


def test_a_run_is_that_of_its_scenario_and_seed(comparison):
    for run in comparison.done:
        alone = simulate(make_scenario({"workload": WORKLOAD, "instances": 2, "router": run.policy, "seed": run.seed}))
        numbers = row(alone.summary)
        assert {metric.name: run.metrics[metric.name] for metric in METRICS} == {
            metric.name: metric.of(numbers) for metric in METRICS
        }


def test_tables_are_means_and_differences_of_the_runs(comparison):
    runs = comparison.runs.pivot(index="seed", columns="policy", values="ttft_mean_s")
    summary = comparison.summary.set_index(["metric", "policy"])
    assert summary.loc[("ttft_mean_s", "lmetric"), "mean"] == pytest.approx(runs["lmetric"].mean())
    difference = comparison.differences.set_index("metric").loc["ttft_mean_s"]
    pairs = runs["lmetric"] - runs["round-robin"]
    assert difference["mean"] == pytest.approx(pairs.mean())
    half = 4.302653 * pairs.std() / math.sqrt(3)  # t(2)
    assert difference["high"] - difference["mean"] == pytest.approx(half, rel=1e-6)
    assert set(comparison.differences["policy"]) == {"lmetric"}


def test_a_verdict_knows_which_way_is_better(comparison):
    hits = comparison.differences.set_index("metric").loc["hit_ratio"]
    assert hits["sign"] == 1 and hits["verdict"] == "better"
    turned = compare(comparison.policies, seeds=3, baseline="lmetric").differences.set_index("metric")
    assert turned.loc["hit_ratio", "sign"] == -1 and turned.loc["hit_ratio", "verdict"] == "worse"
    assert turned.loc["hit_ratio", "mean"] == pytest.approx(-hits["mean"])


def test_any_number_of_processes_gives_the_same_bytes(servesim, tmp_path):
    printed = {}
    for jobs in (1, 2):
        command = [
            "compare",
            *SMALL,
            *ROUTERS,
            "--seeds",
            2,
            "--jobs",
            jobs,
            "--output",
            tmp_path / str(jobs),
            "--json",
        ]
        status, printed[jobs], _ = servesim(*command)
        assert status == 0
    assert printed[1] == printed[2] == (tmp_path / "1/comparison.json").read_text()
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def test_a_failing_run_does_not_lose_the_others(servesim, tmp_path):
    for name, operations in (("good", []), ("bad", NEVER_SERVED)):
        fields = {"workload": WORKLOAD, "instances": 2, "operations": operations}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(fields))
    files = [tmp_path / "good.yaml", tmp_path / "bad.yaml"]
    status, printed, errors = servesim("compare", *files, "--seeds", 2, "--jobs", 2, "--json")
    assert status == 1 and errors.count("servesim: failed: bad, seed") == 2 and "no instance accepts" in errors
    told = json.loads(printed)
    assert [(one["policy"], one["seed"]) for one in told["failures"]] == [("bad", 0), ("bad", 1)]
    assert [(run["policy"], run["seed"]) for run in told["runs"]] == [("good", 0), ("good", 1)]
    assert all(one["mean"] is None and one["seeds"] == 0 for one in told["differences"])
    status, printed, errors = servesim("compare", *files, "--seeds", 2, "--output", tmp_path / "out")
    assert status == 1 and "bad: 2 of 2 runs failed" in printed and "seed 1" in errors
    assert "Runs that failed" in (tmp_path / "out/compare.html").read_text()


def test_where_all_runs_fail_there_is_one_line(servesim):
    broken = ["--set", f"operations={json.dumps(NEVER_SERVED)}"]
    status, _, errors = servesim("compare", *SMALL, *broken, "--router", "vllm", "--seeds", 2, "--jobs", 1)
    assert status == 1 and errors.count("\n") == 1 and "no run ended well; the first, vllm with seed 0" in errors


def test_an_unexpected_error_of_a_run_is_told_too(monkeypatch):
    def broken(scenario, workload):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(sim.compare.cells, "run_scenario", broken)
    with pytest.raises(SimError, match="ZeroDivisionError: of all things"):
        compare([policy("vllm")], seeds=1)


class Deadly:
    """A scenario that ends the process in which it is run, as the system does when memory is short."""

    def model_copy(self, update):
        os._exit(1)


def test_a_process_that_is_killed_fails_its_run():
    requests = generate("chatbot", 0, WORKLOAD["options"])
    cells = [Cell("deadly", Deadly(), 0, requests, 1.0), Cell("good", policy("vllm").scenario, 0, requests, 1.0)]
    deadly, good = run_cells(cells, jobs=2, finished=lambda: None)
    assert isinstance(deadly, Failure) and "ended from outside" in deadly.error
    assert (good.policy, good.seed) == ("good", 0) and isinstance(good, (Run, Failure))


# --- what is compared -------------------------------------------------------------------------------------------------


def test_names_are_files_routers_or_both(tmp_path):
    files = [tmp_path / "h20.yaml", tmp_path / "h800.yaml"]
    for path in files:
        path.write_text(f"workload: {{builtin: chatbot}}\ngpu: {path.stem}\nrouter: random\n")

    def names(*arguments):
        return [(one.name, one.scenario.gpu, one.scenario.router) for one in read_policies(*arguments)]

    assert names(files, [], []) == [("h20", "h20", "random"), ("h800", "h800", "random")]
    assert names(files[:1], ["vllm"], []) == [("vllm", "h20", "vllm")]
    assert names(files, ["vllm"], ["gpu=h100"]) == [("h20/vllm", "h100", "vllm"), ("h800/vllm", "h100", "vllm")]
    assert names([], [], ["workload.builtin=chatbot"]) == [("lmetric", "H20", "lmetric")]


def test_two_paths_to_one_trace_are_the_same_requests(tmp_path):
    (tmp_path / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "a.yaml").write_text("workload: {trace: trace.csv, format: csv}\n")
    (tmp_path / "below/b.yaml").write_text("workload: {trace: ../trace.csv, format: csv}\n")
    assert len(read_policies([tmp_path / "a.yaml", tmp_path / "below/b.yaml"], [], [])) == 2


MISTAKES = {
    "nothing": ([], "nothing to compare"),
    "unknown router": ([*SMALL, "--router", "lmetrc"], "did you mean lmetric"),
    "unknown baseline": ([*SMALL, *ROUTERS, "--baseline", "vlm"], "did you mean vllm"),
    "unknown GPU": ([*SMALL, "--set", "gpu=H21"], "'h20'"),
    "unknown field": ([*SMALL, "--set", "engin.x=3"], "'engine'"),
    "no value": (["--set", "gpu"], "FIELD=VALUE"),
    "a router twice": ([*SMALL, "--router", "vllm", "--router", "vllm"], "stands 2 times"),
    "no such file": (["missing.yaml"], "cannot be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(servesim, mistake):
    arguments, expected = MISTAKES[mistake]
    status, _, errors = servesim("compare", *arguments)
    assert status == 1 and expected in errors and errors.count("\n") == 1


@pytest.mark.parametrize(("field", "value"), [("workload", {"builtin": "api"}), ("seed", 3)])
def test_scenarios_of_other_requests_are_refused(field, value):
    with pytest.raises(SimError, match=f"other: {field}: is"):
        compare([policy("vllm"), policy("vllm", "other", **{field: value})], seeds=1)


def test_seeds_of_a_trace_vary_ties_only(servesim, tmp_path):
    (tmp_path / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n1,200,20\n")
    trace = ["--set", f"workload={{trace: {tmp_path / 'trace.csv'}, format: csv}}", "--router", "vllm", "--seeds", 2]
    status, printed, _ = servesim("compare", *trace, "--jobs", 1)
    assert status == 0 and "seeds vary the router's ties only" in printed
    status, printed, _ = servesim("compare", *trace, "--set", "workload.jitter=true", "--jobs", 1, "--json")
    assert "jitter" in json.loads(printed)["seeds_vary"]


def test_seeds_count_from_the_scenarios_own(servesim):
    status, printed, _ = servesim("compare", *SMALL, "--set", "seed=7", "--seeds", 2, "--jobs", 1, "--json")
    assert status == 0 and json.loads(printed)["seeds"] == [7, 8]


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_the_folder_has_the_documented_files(folder, comparison):
    tables = ["compare.html", "comparison.json", "comparison.parquet", "differences.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(tables + [f"{name}.png" for name in FIGURES])
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "comparison.parquet"), comparison.runs)
    assert len(comparison.runs) == 2 * 3
    text = DOC.read_text()
    for name in [*(path.name for path in folder.iterdir()), *comparison.runs, *comparison.summary]:
        assert f"`{name}`" in text
    for key in [*json.loads(comparison.to_json()), *comparison.differences]:
        assert f"`{key}`" in text


class References(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "poster")]


def test_the_page_has_every_figure_and_needs_nothing_else(folder):
    page = (folder / "compare.html").read_text()
    inlined = [
        f"data:image/png;base64,{base64.b64encode((folder / f'{name}.png').read_bytes()).decode()}" for name in FIGURES
    ]
    assert References(page).found == inlined
    for fetching in ("http:", "https:", "url(", "@import", "<script", "<link"):
        assert fetching not in page


def test_the_page_shows_names_as_they_are(tmp_path):
    write(compare([policy("vllm", "<b>&")], seeds=1), tmp_path)
    page = (tmp_path / "compare.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page


def test_an_interruption_leaves_complete_files_only(comparison, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sim.compare.folder, "page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(comparison, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".partial")]
    assert not (tmp_path / "compare.html").exists()
    assert json.loads((tmp_path / "comparison.json").read_text())["baseline"] == "round-robin"


def test_the_table_has_a_line_per_metric_and_policy(comparison):
    table = lines(comparison)
    assert len(table) == 2 * len(METRICS)
    assert [line.metric for line in table[::2]] == [metric.label for metric in METRICS]
    assert table[0].verdict == "baseline" and table[0].difference == ""
    hits = next(line for line in table[1::2] if line.verdict == "better" and line.difference.startswith("+"))
    assert " .. +" in hits.difference_interval


def test_goodput_is_compared_where_there_is_an_slo(comparison):
    slo = [{"ttft_s": 0.1, "attainment": 0.5}]
    told = compare([policy("round-robin"), policy("lmetric", slo=slo)], seeds=2)
    assert told.metrics == METRICS + SLO_METRICS and comparison.metrics == METRICS
    with_slo = told.runs[told.runs["policy"] == "lmetric"]
    assert with_slo["good_share"].between(0, 1).all() and (with_slo["good_requests_per_s"] > 0).all()
    assert told.runs[told.runs["policy"] == "round-robin"]["good_share"].isna().all()
    assert [line.metric for line in lines(told)[-4::2]] == [metric.label for metric in SLO_METRICS]
    assert len(FIGURES["means"](told).axes) == len(told.metrics)


def test_saturated_runs_are_told():
    options = {"requests": 3000, "rate_per_s": 60.0, "between_s": 10.0}
    workload = {"builtin": "chatbot", "options": options}
    told = compare([policy("lmetric", workload=workload, instances=1)], seeds=1)
    assert told.runs["saturated"].all()
    assert any("lmetric: 1 of 1 runs are saturated" in note for note in notes(told))


def test_one_seed_has_no_intervals():
    alone = compare([policy("vllm"), policy("lmetric")], seeds=1)
    assert alone.summary["low"].isna().all() and (alone.differences["verdict"] == "unclear").all()
    assert all(line.interval == "-" for line in lines(alone))
    assert any("One seed" in note for note in notes(alone))


@pytest.mark.filterwarnings("error")
def test_what_no_run_has_is_null(tmp_path):
    (tmp_path / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,1\n1,200,1\n")
    source = {"trace": str(tmp_path / "trace.csv"), "format": "csv"}
    single = compare([policy("vllm", workload=source), policy("lmetric", workload=source)], seeds=2)
    tpot = [one for one in json.loads(single.to_json())["summary"] if one["metric"] == "tpot_mean_s"]
    assert [(one["seeds"], one["mean"], one["low"]) for one in tpot] == [(0, None, None)] * 2
    write(single, tmp_path / "out")


def test_curves_of_runs_add_up():
    def one(bin_at: int, arrivals: list[int]) -> Curves:
        counts = np.bincount([bin_at], minlength=len(edges_s()) - 1)
        ones = np.array(arrivals)
        return Curves(1, dict.fromkeys(LATENCIES, counts), ones, 2.0 * ones, ones, ones, 0 * ones)

    both = total([one(10, [1, 0]), one(20, [1, 0, 3])])
    assert both.runs == 2 and both.arrivals.tolist() == [2, 0, 3]
    seconds, share = both.cdf("ttft_s")
    assert share.tolist() == [0.5, 1.0] and seconds.tolist() == [edges_s()[11], edges_s()[21]]
    np.testing.assert_array_equal(both.mean_ttft_s(), [2.0, math.nan, 2.0])
    assert both.shown_bins() == 3  # of the 5 requests, 2 are finished after the first bin


def test_help_has_an_example(servesim):
    status, printed, _ = servesim("compare", "--help")
    assert status == 0 and "Example: servesim compare" in printed
