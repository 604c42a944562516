"""Figures of a comparison: all policies in each, over all seeds."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures import legend, plain_ticks
from .comparison import Comparison
from .curves import Curves, total
from .metrics import Metric

Pooled = dict[str, Curves]  # by policy, those of which at least one run ended well


def pooled(comparison: Comparison) -> Pooled:
    """Each policy's runs added up."""
    runs = {policy.name: comparison.runs_of(policy.name) for policy in comparison.policies}
    return {name: total([run.curves for run in some]) for name, some in runs.items() if some}


def draw_cdf(axes: Axes, comparison: Comparison, latency: str) -> None:
    for name, curves in pooled(comparison).items():
        axes.step(*curves.cdf(latency), where="post", label=name, color=_colour(comparison, name))
    axes.set(xlabel=f"{latency.removesuffix('_s').upper()}, s", ylabel="share of requests", xscale="log", ylim=(0, 1))
    plain_ticks(axes.xaxis)


def ttft_cdf(comparison: Comparison) -> Figure:
    return _single(lambda axes: draw_cdf(axes, comparison, "ttft_s"))


def tpot_cdf(comparison: Comparison) -> Figure:
    return _single(lambda axes: draw_cdf(axes, comparison, "tpot_s"))


def e2e_cdf(comparison: Comparison) -> Figure:
    return _single(lambda axes: draw_cdf(axes, comparison, "e2e_s"))


def ttft_over_time(comparison: Comparison) -> Figure:
    """Mean of the requests that arrive in each time bin."""

    def draw(axes: Axes) -> None:
        for name, curves in pooled(comparison).items():
            mean_s = curves.mean_ttft_s()
            start_s = np.arange(len(mean_s)) * comparison.bin_s
            axes.step(start_s, mean_s, where="post", label=name, color=_colour(comparison, name))
        axes.set(xlabel="arrival, s", ylabel=f"mean TTFT in {comparison.bin_s:g} s, s", xlim=_shown_s(comparison))
        axes.set(yscale="log")
        plain_ticks(axes.yaxis)

    return _single(draw)


def requests_over_time(comparison: Comparison) -> Figure:
    """Running and waiting in the whole cluster, mean over the seeds."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    for axes, state in zip(figure.subplots(2, 1, sharex=True), ("running", "waiting"), strict=True):
        for name, curves in pooled(comparison).items():
            count = getattr(curves, state) / curves.runs
            time_s = (1 + np.arange(len(count))) * comparison.bin_s
            axes.plot(time_s, count, label=name, color=_colour(comparison, name), linewidth=1)
        axes.set(ylabel=f"requests {state}", xlim=_shown_s(comparison), ylim=(0, None))
    axes.set(xlabel="time, s")
    legend(figure)
    return figure


def means(comparison: Comparison) -> Figure:
    """Every metric's mean over the seeds, with its confidence interval."""
    rows = -(-len(comparison.metrics) // 3)
    figure = Figure(figsize=(11, 3 * rows), layout="constrained")
    for place, metric in enumerate(comparison.metrics, start=1):
        _draw_bars(figure.add_subplot(rows, 3, place), comparison, metric)
    return figure


def _draw_bars(axes: Axes, comparison: Comparison, metric: Metric) -> None:
    rows = comparison.summary[comparison.summary["metric"] == metric.name]
    mean, high = rows["mean"] * metric.scale, rows["high"] * metric.scale
    colours = [_colour(comparison, name) for name in rows["policy"]]
    axes.bar(rows["policy"], mean, yerr=high - mean, color=colours, capsize=4)
    axes.set(title=metric.label, ylim=(0, None))
    axes.tick_params("x", labelrotation=20)


FIGURES: dict[str, Callable[[Comparison], Figure]] = {
    "means": means,
    "ttft_cdf": ttft_cdf,
    "tpot_cdf": tpot_cdf,
    "e2e_cdf": e2e_cdf,
    "ttft_over_time": ttft_over_time,
    "requests_over_time": requests_over_time,
}


def _single(draw: Callable[[Axes], None]) -> Figure:
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    draw(figure.add_subplot())
    legend(figure)
    return figure


def _shown_s(comparison: Comparison) -> tuple[float, float]:
    """Until nearly all requests are finished, with every policy."""
    return 0.0, comparison.bin_s * max(curves.shown_bins() for curves in pooled(comparison).values())


def _colour(comparison: Comparison, name: str) -> str:
    """The same in every figure; it repeats after ten policies."""
    return f"C{[policy.name for policy in comparison.policies].index(name) % 10}"
