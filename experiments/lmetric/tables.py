"""The study's numbers as Markdown."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sim.statistics import Interval, paired_difference

from ..markdown import markdown
from . import published
from .runs import ABLATIONS

COLUMNS = {
    "ttft_mean_s": ("TTFT mean, s", 1.0),
    "ttft_p50_s": ("p50", 1.0),
    "ttft_p99_s": ("p99", 1.0),
    "tpot_mean_s": ("TPOT mean, ms", 1e3),
    "tpot_p99_s": ("p99", 1e3),
    "hit_ratio": ("hit ratio, %", 100.0),
}
ABLATED = ("ttft_mean_s", "ttft_p50_s", "ttft_p95_s", "tpot_mean_s", "tpot_p99_s")


def maxima(rates: dict[tuple[str, str], float], half: pd.DataFrame) -> str:
    """Requests a second by model and workload, and how many requests a run at half of it has."""
    rows = []
    for (model, workload), rate in rates.items():
        runs = half[(half.model == model) & (half.workload == workload)]
        steady, count = runs.steady_per_s.mean(), runs.requests.mean()
        rows.append([model, workload, f"{rate:.2f}", f"{rate / 2:.2f}", f"{steady:.2f}", f"{count:,.0f}"])
    return markdown(["model", "workload", "maximum/s", "half", "in the middle half", "requests a run"], rows)


def routers(half: pd.DataFrame, names: Sequence[str]) -> str:
    """Of one model and workload: means over the seeds, a row per router, and against vllm with the 95 % interval."""
    rows = []
    for name in names:
        means = half[half.router == name][list(COLUMNS)].mean()
        cells = [f"{means[column] * scale:.3g}" for column, (_, scale) in COLUMNS.items()]
        rows.append([name, *cells, *(against(half, name, "vllm", metric) for metric in ("ttft_mean_s", "tpot_mean_s"))])
    head = ["router", *(label for label, _ in COLUMNS.values()), "TTFT mean to vllm", "TPOT mean to vllm"]
    return markdown(head, rows)


def change(runs: pd.DataFrame, name: str, base: str, metric: str, by: str = "router") -> tuple[Interval, float]:
    """Between the runs of two values of ``by``, paired by seed: the difference in the metric's unit, and its mean in
    percent."""
    ours, theirs = (runs[runs[by] == value].sort_values("seed")[metric].to_numpy() for value in (name, base))
    interval, relative = paired_difference(ours, theirs)
    return interval, 100 * relative


def against(runs: pd.DataFrame, name: str, base: str, metric: str, by: str = "router") -> str:
    """The change in percent; in brackets where the 95 % interval holds zero, "same" where no seed differs."""
    if name == base:
        return ""
    interval, percent = change(runs, name, base, metric, by)
    if interval.low == interval.high == 0:
        return "same"
    return f"{percent:+.1f} %" if interval.sign else f"({percent:+.1f} %)"


def with_interval(runs: pd.DataFrame, name: str, base: str, metric: str, by: str = "router") -> str:
    """The change in percent and its 95 % interval."""
    interval, percent = change(runs, name, base, metric, by)
    scale = 100 / runs[runs[by] == base][metric].mean()
    return f"{percent:+.1f} % ({scale * interval.low:+.1f} to {scale * interval.high:+.1f})"


def beside_the_paper(half: pd.DataFrame) -> str:
    """Every published change with that of each model, where the workload is there."""
    models = list(half.model.unique())
    rows = []
    for one in published.CHANGES:
        cells = []
        for model in models:
            of = half[(half.model == model) & (half.workload == one.workload)]
            cells.append(against(of, "lmetric", one.against, one.metric) if len(of) else "")
        told = "similar" if one.percent == 0 else f"{one.percent:+g} %"
        rows.append([one.workload, one.against, one.metric.removesuffix("_s").replace("_", " "), told, *cells])
    return markdown(["workload", "lmetric to", "metric", "published", *models], rows)


def by_kind(kinds: pd.DataFrame) -> str:
    """Mean TTFT in seconds, and shares of one, of `causes.by_kind`."""
    rows = [[str(row["router"]), *(f"{row[name]:.3f}" for name in kinds.columns[1:])] for _, row in kinds.iterrows()]
    return markdown(list(kinds.columns), rows)


def ablations(half: pd.DataFrame) -> str:
    """LMetric against itself with one factor replaced, a row per model, workload and variant."""
    rows = [
        [str(model), str(workload), name, *(against(group, "lmetric", name, metric) for metric in ABLATED)]
        for (model, workload), group in half.groupby(["model", "workload"], sort=False)
        for name in ABLATIONS
    ]
    head = [metric.removesuffix("_s").replace("_", " ") for metric in ABLATED]
    return markdown(["model", "workload", "lmetric to", *head], rows)


def against_round_robin(half: pd.DataFrame) -> str:
    """Mean TTFT and TPOT of LMetric against round-robin's, seed by seed the worst, in percent."""
    rows = []
    for (model, workload), group in half.groupby(["model", "workload"], sort=False):
        ours, theirs = (group[group.router == name].set_index("seed") for name in ("lmetric", "round-robin"))
        worst = 100 * float(np.max(ours.ttft_mean_s / theirs.ttft_mean_s - 1))
        shown = [against(group, "lmetric", "round-robin", metric) for metric in ("ttft_mean_s", "tpot_mean_s")]
        rows.append([str(model), str(workload), *shown, f"{worst:+.1f} %"])
    return markdown(["model", "workload", "TTFT mean", "TPOT mean", "TTFT mean, worst seed"], rows)


def sweep(table: pd.DataFrame) -> str:
    """Mean TTFT in s / mean TPOT in ms by share of the maximum rate, means over the seeds."""
    means = table.groupby(["workload", "router", "load"], sort=False)[["ttft_mean_s", "tpot_mean_s"]].mean()
    loads = list(table.load.unique())
    rows = []
    for (workload, router), group in means.groupby(level=["workload", "router"], sort=False):
        cells = [group.xs(load, level="load").iloc[0] for load in loads]
        rows.append(
            [str(workload), str(router), *(f"{cell.ttft_mean_s:.3g} / {1e3 * cell.tpot_mean_s:.3g}" for cell in cells)]
        )
    return markdown(["workload", "router", *(f"{load:g}" for load in loads)], rows)


def failure(tables: pd.DataFrame) -> str:
    """By router: means over all requests but the first, and the mean share of the busiest instance in 5 s."""
    rows = []
    for router, table in tables[tables.time_s > 0].groupby("router", sort=False):
        ttft_s, tpot_s = (float(np.average(table[name], weights=table.requests)) for name in ("ttft_s", "tpot_s"))
        busiest = f"{table.busiest.iloc[1:].mean():.0%}"
        rows.append(
            [str(router), f"{1e3 * ttft_s:.1f}", f"{1e3 * tpot_s:.1f}", f"{1e3 * table.tpot_s.max():.1f}", busiest]
        )
    head = ["router", "TTFT mean, ms", "TPOT mean, ms", "TPOT of the worst 5 s, ms", "requests on the busiest instance"]
    return markdown(head, rows)
