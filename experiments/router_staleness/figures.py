"""The study's figures; each gives a sheet."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from .runs import CONTROLS, LATE, NOW
from .tables import LATENCIES

SEEN = (NOW, *LATE)


def by_lateness(runs: pd.DataFrame) -> Figure:
    """A row per metric, a column per workload and load, a line per router: means over the seeds."""
    groups = list(runs.groupby(["workload", "load"], sort=False))
    routers = list(runs.router.unique())
    colours = colormaps["tab20"]
    sheet = Figure(figsize=(3.4 * len(groups) + 2, 9), layout="constrained")
    axes = sheet.subplots(len(LATENCIES), len(groups), squeeze=False)
    for column, ((workload, load), group) in enumerate(groups):
        for ax, (metric, label) in zip(axes[:, column], LATENCIES.items(), strict=True):
            means = group.pivot_table(index="view", columns="router", values=metric).loc[list(SEEN)]
            scale = 1e3 if label.endswith("ms") else 1.0
            for number, router in enumerate(routers):
                dashed = "--" if router in CONTROLS else "-"
                ax.plot(SEEN, scale * means[router], dashed, marker="o", ms=3, color=colours(number), label=router)
            ax.set(yscale="log", ylabel=label if column == 0 else "")
        axes[0, column].set_title(f"{workload}, {load:g} of the maximum")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc="outside right center", fontsize="small")
    return sheet


def herding(runs: pd.DataFrame) -> Figure:
    """A panel per workload: by router and load, the share of the busiest instance and the change of the mean TTFT,
    both of the latest view."""
    workloads = list(runs.workload.unique())
    sheet = Figure(figsize=(4.8 * len(workloads), 4), layout="constrained")
    axes = np.atleast_1d(sheet.subplots(1, len(workloads)))
    for ax, workload in zip(axes, workloads, strict=True):
        of = runs[runs.workload == workload]
        for number, (load, group) in enumerate(of.groupby("load")):
            means = group.groupby(["router", "view"])[["ttft_mean_s", "busiest"]].mean()
            late, now = (means.xs(view, level="view") for view in (LATE[-1], NOW))
            slower = late.ttft_mean_s / now.ttft_mean_s
            ax.plot(100 * late.busiest, slower, "os"[number % 2], ms=4, color=f"C{number}", label=f"{load:g}")
            for router in slower.index:
                ax.annotate(router, (100 * late.busiest[router], slower[router]), fontsize=5)
        ax.axhline(1, color="grey", linewidth=0.8)
        ax.set(title=workload, xlabel=f"busiest instance's share of half a second, %, {LATE[-1]} late", yscale="log")
        ax.set(ylabel=f"mean TTFT, {LATE[-1]} late / now")
        ax.legend(title="load", fontsize="x-small")
    return sheet
