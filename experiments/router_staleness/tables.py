"""The study's numbers as Markdown. A group is the runs of one workload at one load."""

from collections.abc import Sequence

import pandas as pd

from sim.compare.metrics import METRICS

from ..lmetric.tables import against
from ..markdown import markdown
from .runs import CONTROLS, INDEX, LATE, NOW

LATENCIES = {"ttft_mean_s": "TTFT mean, s", "ttft_p99_s": "TTFT p99, s", "tpot_mean_s": "TPOT mean, ms"}
SCALES = {metric.name: metric.scale for metric in METRICS}


def lateness(group: pd.DataFrame) -> str:
    """Each metric as seen now, and what being late changes in percent, in brackets where the 95 % interval of the
    difference, paired by seed, holds zero."""
    rows = []
    for router, runs in group.groupby("router", sort=False):
        cells = [str(router)]
        for metric in LATENCIES:
            cells.append(_mean(runs[runs["view"] == NOW], metric))
            cells += [against(runs, view, NOW, metric, by="view") for view in LATE]
        rows.append(cells)
    head = [cell for label in LATENCIES.values() for cell in (label, *LATE)]
    return markdown(["router", *head], rows)


def own_index(group: pd.DataFrame) -> str:
    """By the router's own prefix index beside what the engines cache: hit ratio in percent, and changes."""
    rows = []
    for router, runs in group.groupby("router", sort=False):
        hits = [_mean(runs[runs["view"] == view], "hit_ratio") for view in (NOW, INDEX)]
        rows.append([str(router), *hits, *(against(runs, INDEX, NOW, metric, by="view") for metric in LATENCIES)])
    head = ["router", "hit ratio, %", "by its index", *(label.split(",")[0] for label in LATENCIES.values())]
    return markdown(head, rows)


def herding(group: pd.DataFrame) -> str:
    """How much of half a second's requests one instance gets, in percent."""
    shares = 100 * group.pivot_table(index="router", columns="view", values="busiest", sort=False)[[NOW, *LATE]]
    rows = [[str(router), *(f"{share:.0f}" for share in row)] for router, row in shares.iterrows()]
    return markdown(["router", *shares.columns], rows)


def best(runs: pd.DataFrame, count: int = 4) -> str:
    """The routers of the lowest mean TTFT in seconds, by what they see."""
    rows = []
    for (workload, load, view), group in runs.groupby(["workload", "load", "view"], sort=False):
        means = group.groupby("router").ttft_mean_s.mean().nsmallest(count)
        rows.append([str(workload), f"{load:g}", str(view), *(f"{name} {mean:.3g}" for name, mean in means.items())])
    return markdown(["workload", "load", "seen", *(str(place + 1) for place in range(count))], rows)


def changed_controls(runs: pd.DataFrame) -> list[str]:
    """Runs of `CONTROLS` in which anything differs from what the router does when it sees all at once; none should."""
    told = []
    measured = [metric.name for metric in METRICS]
    for (workload, load, seed, router), group in runs.groupby(["workload", "load", "seed", "router"], sort=False):
        if router in CONTROLS and (group[measured].nunique() > 1).any():
            told.append(f"{router} on {workload} at {load:g}, seed {seed}")
    return told


def rates(most_per_s: dict[str, float], runs: pd.DataFrame, loads: Sequence[float]) -> str:
    """Requests a second, and how many requests a run has."""
    rows = []
    for workload, most in most_per_s.items():
        count = runs[runs.workload == workload].groupby("load").requests.mean()
        cells = [f"{load * most:.1f} ({count[load]:,.0f} requests)" for load in loads]
        rows.append([workload, f"{most:.1f}", *cells])
    return markdown(["workload", "maximum/s", *(f"at {load:g}" for load in loads)], rows)


def _mean(runs: pd.DataFrame, metric: str) -> str:
    return f"{SCALES[metric] * runs[metric].mean():.3g}"
