"""Reports: what a page holds, how small it stays, and what is said of folders that hold no run."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_runs import write_run

from sim.errors import SimError
from sim.report import read_runs, write_figures, write_page
from sim.report.aggregate import MOST_POINTS, MOST_ROWS, binned_cdf, cdf, merged, rows_merged, window_s
from sim.report.charts import CHARTS
from sim.report.page import page
from sim.report.runs import COLUMNS, OPTIONAL

DOC = Path(__file__).parents[1] / "docs" / "reports.md"
SAMPLED = {"requests", "tokens", "kv", "busy", "iteration_mix", "queue_heat", "kv_heat", "busy_heat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "lmetric", objectives=True)


@pytest.fixture
def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "run"))


class Links(HTMLParser):
    """Whatever a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href", "xlink:href")]


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_run_becomes_a_page_and_figures(servesim, tmp_path):
    small = ["--builtin", "chatbot", "--set", "workload.options.requests=300", "--instances", "2"]
    routers = ["--router", "round-robin", "--router", "lmetric"]
    assert servesim("run", *small, *routers, "--set", "series_interval_s=1", "--out", tmp_path / "runs")[0] == 0
    output, figures = tmp_path / "pages" / "report.html", tmp_path / "figures"
    runs = sorted((tmp_path / "runs").iterdir())
    status, printed, _ = servesim("report", *runs, "--output", output, "--figures", figures, "--format", "png")
    assert status == 0
    assert f"Written to {output}" in printed and "nothing to draw in slo" in printed
    text = output.read_text()
    assert all(chart.title in text for chart in CHARTS)
    assert "The scenario sets no latency objectives." in text
    assert "router: round-robin" in text and "router: lmetric" in text
    assert sorted(path.name for path in figures.iterdir()) == sorted(
        f"{chart.name}.png" for chart in CHARTS if chart.name != "slo"
    )


def test_figures_alone_write_no_page(servesim, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert servesim("report", folder, "--figures", "figures")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    assert (tmp_path / "figures" / "ttft_cdf.svg").read_text().startswith("<?xml")
    assert servesim("report", folder)[0] == 0
    assert (tmp_path / "report.html").exists()


def test_a_trace_of_events_comes_with_one_run_only(servesim, tmp_path):
    run = ["run", "--builtin", "chatbot", "--set", "workload.options.requests=100"]
    file = tmp_path / "new" / "trace.json.gz"
    status, printed, _ = servesim(*run, "--trace-events", file, "--trace-window", "0:60")
    assert status == 0 and file.exists() and "perfetto" in printed
    status, _, told = servesim(*run, "--trace-events", file, "--router", "vllm", "--router", "lmetric")
    assert (status, told) == (1, "servesim: error: --trace-events: is for one run; give one --router\n")
    status, _, told = servesim(*run, "--trace-window", "0:60")
    assert (status, told) == (1, "servesim: error: --trace-window: goes with --trace-events FILE\n")


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_needs_no_other_file(folder):
    text = page(read_runs([folder]))
    assert all(link.startswith(("#", "data:")) for link in Links(text).found)
    assert "@import" not in text and "url(http" not in text


def test_the_same_runs_give_the_same_bytes(folder, tmp_path):
    for name in ("one", "two"):
        write_page(read_runs([folder]), tmp_path / f"{name}.html")
        write_figures(read_runs([folder]), tmp_path / name, "svg")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    for figure in (tmp_path / "one").iterdir():
        assert figure.read_bytes() == (tmp_path / "two" / figure.name).read_bytes()


def test_text_of_a_run_is_escaped(copied):
    summary = json.loads((copied / "summary.json").read_text())
    summary["scenario"]["model"] = "<script>alert(1)</script>"
    (copied / "summary.json").write_text(json.dumps(summary))
    assert "<script>alert" not in page(read_runs([copied.rename(copied.with_name("<b>run & co"))]))


def test_a_million_requests_on_a_thousand_instances_stay_below_five_megabytes(tmp_path):
    run = write_run(tmp_path / "run", requests=10**6, instances=1000, samples=300, objectives=True)
    write_page(read_runs([run]), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5e6


def test_charts_without_samples_say_so(copied):
    series = pd.read_parquet(copied / "series.parquet")
    series.head(0).to_parquet(copied / "series.parquet")
    assert page(read_runs([copied])).count("There are no samples") == len(SAMPLED)
    assert set(write_figures(read_runs([copied]), copied / "figures", "png")) == SAMPLED


def test_answers_of_one_token_have_no_time_between_tokens(copied):
    requests = pd.read_parquet(copied / "requests.parquet").assign(tpot_s=np.nan)
    requests.to_parquet(copied / "requests.parquet")
    pd.read_parquet(copied / "itl.parquet").head(0).to_parquet(copied / "itl.parquet")
    assert page(read_runs([copied])).count("Every answer is a single token") == 3


def test_runs_are_told_apart_by_their_folders(folder, tmp_path):
    first, second = write_run(tmp_path / "a" / "run", seed=1), write_run(tmp_path / "b" / "run", seed=2)
    assert [run.label for run in read_runs([folder, first])] == ["lmetric", "run"]
    assert [run.label for run in read_runs([first, second])] == [str(first), str(second)]


def test_every_chart_is_documented():
    text = DOC.read_text()
    assert all(f"`{chart.name}`" in text for chart in CHARTS)


# --- aggregation ------------------------------------------------------------------------------------------------------


def test_a_cdf_has_few_points_that_are_exact():
    values = np.random.default_rng(0).lognormal(0, 1, 100_000)
    values[:10] = np.nan
    x, share = cdf(values)
    assert len(x) == MOST_POINTS and share[-1] == 1.0 and x[-1] == np.nanmax(values)
    assert np.allclose([(values <= at).sum() / 99_990 for at in x], share)
    assert [part.tolist() for part in cdf(np.array([3.0, 1.0]))] == [[1.0, 3.0], [0.5, 1.0]]
    x, share = binned_cdf(np.arange(1.0, 2001.0), np.ones(2000, np.int64))
    assert len(x) == MOST_POINTS and np.allclose(x / 2000, share)


@pytest.mark.parametrize("samples", [1, 499, 500, 501, 1000, 12_345])
def test_merged_samples_keep_sums_and_ends(samples):
    time_s = np.arange(1, samples + 1) * 10.0
    values = np.random.default_rng(0).integers(0, 100, (samples, 3))
    ends_s, sums = merged(time_s, values, counts=True)
    assert len(ends_s) <= MOST_POINTS and ends_s[-1] == time_s[-1]
    assert np.array_equal(sums.sum(axis=0), values.sum(axis=0))
    means = merged(time_s, values, counts=False)[1]
    weights = np.diff(ends_s, prepend=0)
    assert np.allclose((means * weights[:, None]).sum(axis=0) / weights.sum(), values.mean(axis=0))


@pytest.mark.parametrize(("instances", "each"), [(1, 1), (200, 1), (201, 2), (1000, 5)])
def test_rows_of_a_heat_map_are_merged(instances, each):
    values = np.random.default_rng(0).uniform(size=(7, instances))
    rows, merged_rows = rows_merged(values)
    assert merged_rows == each and rows.shape[1] <= MOST_ROWS
    assert np.allclose(rows[:, 0], values[:, :each].mean(axis=1))


def test_windows_are_few_and_charts_end_with_nearly_all_requests(folder, copied):
    requests = pd.read_parquet(copied / "requests.parquet")
    requests.loc[requests.index[-3:], ["arrival_s", "finish_s"]] = 10**8
    requests.to_parquet(copied / "requests.parquet")
    (run,) = read_runs([copied])
    assert run.shown_s < 4000 and run.over_time("arrival_s")[0].max() < run.shown_s
    assert run.shown_s / window_s([run]) < MOST_POINTS
    page([run])


# --- folders that hold no run -----------------------------------------------------------------------------------------


def refused(*folders: Path) -> str:
    with pytest.raises(SimError) as error:
        read_runs(folders)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_without_a_run_is_refused(folder, tmp_path):
    assert refused(tmp_path) == (
        f"{tmp_path}: is no result folder, as it has no summary.json; give one that `servesim run --out` wrote"
    )
    assert refused(folder.parent).endswith("it has no summary.json; give its folders: lmetric")
    assert refused(folder, folder.parent / "." / "lmetric").endswith("is given twice")


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != OPTIONAL])
def test_a_missing_or_foreign_table_is_refused(copied, name):
    path = copied / f"{name}.parquet"
    table = pd.read_parquet(path)
    table.drop(columns=COLUMNS[name][-1]).to_parquet(path)
    assert refused(copied) == (
        f"{path}: has no column {COLUMNS[name][-1]}; write it again with `servesim run --out` of this version"
    )
    path.write_text("no table")
    assert refused(copied) == f"{path}: is no Parquet file; write it again with `servesim run --out`"
    path.unlink()
    assert refused(copied) == f"{path}: is missing; write it again with `servesim run --out`"


def test_a_foreign_summary_is_refused(copied):
    path = copied / "summary.json"
    path.write_text("{")
    assert refused(copied) == f"{path}: is no JSON; write it again with `servesim run --out`"
    path.write_text('{"schema_version": 0}')
    assert refused(copied).startswith(f"{path}: schema_version: expected 2, found 0; write it again")


def test_samples_of_another_run_are_refused(copied):
    pd.read_parquet(copied / "series.parquet").head(7).to_parquet(copied / "series.parquet")
    with pytest.raises(SimError, match="7 rows are not those of 4 instances"):
        page(read_runs([copied]))


def test_a_page_has_a_page_s_name(servesim, folder, tmp_path):
    status, _, told = servesim("report", folder, "--output", tmp_path / "report.pdf")
    assert status == 1 and told.endswith("report.pdf: give a name that ends in .html\n")
