"""Figures of predicted against measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures import plain_ticks
from .comparison import Comparison
from .runs import EngineRun

SCATTERED = {
    "ttft_mean_s": "mean TTFT, s",
    "tpot_mean_s": "mean TPOT, s",
    "e2e_mean_s": "mean E2E, s",
    "throughput_tokens_per_s": "throughput, tokens/s",
}
BAND = 0.10  # shaded either side of the diagonal


def scatter(comparisons: Sequence[Comparison]) -> Figure:
    """Predicted over measured: a panel a metric, a point a segment of a run, a colour a group; hollow with a note."""
    shown = [one for one in comparisons if one.predicted is not None and one.metric in SCATTERED]
    metrics = [metric for metric in SCATTERED if any(one.metric == metric for one in shown)]
    groups = sorted({one.group for one in shown})
    figure = Figure(figsize=(4.2 * max(1, len(metrics)), 4.6), layout="constrained")
    for metric, axes in zip(metrics, figure.subplots(1, max(1, len(metrics)), squeeze=False)[0], strict=False):
        _scatter_metric(axes, [one for one in shown if one.metric == metric], groups)
        axes.set(title=SCATTERED[metric], xlabel="measured", ylabel="predicted")
    handles = [figure.axes[0].scatter([], [], s=14, color=f"C{index % 10}") for index in range(len(groups))]
    figure.legend(handles, groups, loc="outside lower center", ncols=3, fontsize="x-small")
    return figure


def _scatter_metric(axes: Axes, comparisons: Sequence[Comparison], groups: list[str]) -> None:
    points = np.array([(one.measured, one.predicted) for one in comparisons], float)
    colours = [f"C{groups.index(one.group) % 10}" for one in comparisons]
    filled = ["none" if one.note else colour for one, colour in zip(comparisons, colours, strict=True)]
    axes.scatter(points[:, 0], points[:, 1], s=14, edgecolors=colours, facecolors=filled)
    ends = np.array([points.min() * 0.8, points.max() * 1.25])
    axes.plot(ends, ends, color="0.4", linewidth=0.8)
    axes.fill_between(ends, ends * (1 - BAND), ends * (1 + BAND), color="0.9", zorder=0)
    axes.set(xlim=tuple(ends), ylim=tuple(ends))
    _logarithmic(axes, "xy")


def _logarithmic(axes: Axes, directions: str) -> None:
    """Log scales with ticks at 1, 2 and 5, written as plain numbers."""
    for direction in directions:
        axes.set(**{f"{direction}scale": "log"})
        plain_ticks(axes.xaxis if direction == "x" else axes.yaxis)


def distributions(run: EngineRun, predicted: pd.DataFrame) -> Figure:
    """Cumulative distributions of TTFT and E2E side by side, of the requests that the engine answered."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(run.name + (" (saturated)" if run.saturated else ""), fontsize="medium")
    for column, axes in zip(("ttft_s", "e2e_s"), figure.subplots(1, 2), strict=True):
        for label, table, style in (("measured", run.requests, "-"), ("predicted", predicted, "--")):
            axes.ecdf(table.loc[run.answered, column], label=label, linestyle=style)
        axes.set(xlabel=f"{column.removesuffix('_s').upper()}, s", ylabel="share of requests")
        _logarithmic(axes, "x")
        axes.legend()
    return figure


def write(
    folder: Path, comparisons: Sequence[Comparison], replays: Sequence[tuple[EngineRun, pd.DataFrame]]
) -> list[Path]:
    """scatter.png of ``comparisons``, and cdf-RUN.png of each of ``replays``, runs with what was predicted."""
    figures = {"scatter.png": scatter(comparisons)}
    figures |= {f"cdf-{run.name.replace('/', '-')}.png": distributions(run, predicted) for run, predicted in replays}
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in figures]
