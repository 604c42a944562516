"""The charts of a report, each of all its runs. `CHARTS` lists them in the order of the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures import legend, mark, plain_ticks
from .aggregate import binned_cdf, cdf, merged, per_window, quantiles_per_window, window_s
from .heat import busy_heat, iteration_mix, kv_heat, queue_heat, rate_heat
from .nothing import NO_SAMPLES, Nothing
from .runs import Run

Runs = Sequence[Run]
SIZE = (5.4, 3.4)  # inches, of a chart beside another
TALL = (5.4, 4.4)
NAMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E latency"}


@dataclass(frozen=True)
class Chart:
    """``draw`` gives a figure, or raises `Nothing`."""

    name: str
    title: str
    caption: str
    draw: Callable[[Runs], Figure]
    wide: bool = False


def _curve(axes: Axes, run: Run, x: np.ndarray, y: np.ndarray, style: str = "-", label: str | None = "") -> None:
    """One of ``run``, in its colour; it has the run's label unless another or None is given."""
    named = run.label if label == "" else label
    mark(axes.plot(x, y, style, color=f"C{run.number % 10}", label=named)[0], f"run-{run.number}")


def _cdf_of(latency: str) -> Callable[[Runs], Figure]:
    def draw(runs: Runs) -> Figure:
        curves = {run.number: cdf(run.table("requests", latency)[latency].to_numpy()) for run in runs}
        return _draw_cdf(runs, curves, f"{NAMES[latency]}, s", "share of requests")

    return draw


def itl_cdf(runs: Runs) -> Figure:
    curves = {}
    for run in runs:
        bins = run.table("itl", "high_s", "count")
        curves[run.number] = binned_cdf(bins["high_s"].to_numpy(), bins["count"].to_numpy())
    return _draw_cdf(runs, curves, "time between tokens, s", "share of tokens")


def _draw_cdf(runs: Runs, curves: dict[int, tuple[np.ndarray, np.ndarray]], xlabel: str, ylabel: str) -> Figure:
    if all(len(x) == 0 for x, _ in curves.values()):
        raise Nothing("Every answer is a single token, so there is no time between tokens.")
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        _curve(axes, run, *curves[run.number])
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log", ylim=(0, 1.01))
    plain_ticks(axes.xaxis)
    legend(figure)
    return figure


def _latency_over_time(latency: str) -> Callable[[Runs], Figure]:
    def draw(runs: Runs) -> Figure:
        width_s = window_s(runs)
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        for run in runs:
            arrival_s, values = run.over_time("arrival_s", latency)
            some = ~np.isnan(values)
            if not some.any():
                continue
            shown = quantiles_per_window(arrival_s[some], values[some], width_s, (0.5, 0.99))
            _curve(axes, run, shown.index.to_numpy(), shown[0.5].to_numpy())
            _curve(axes, run, shown.index.to_numpy(), shown[0.99].to_numpy(), ":", None)
        if not axes.lines:
            raise Nothing("Every answer is a single token, so there is no time between tokens.")
        axes.set(xlabel="arrival, s", ylabel=f"{NAMES[latency]}, s ({width_s:g} s windows)", yscale="log")
        plain_ticks(axes.yaxis)
        legend(figure)
        return figure

    return draw


def rates(runs: Runs) -> Figure:
    width_s = window_s(runs)
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        for column, style, label in (("arrival_s", "-", ""), ("finish_s", ":", None)):
            rate = per_window(run.over_time(column)[0], width_s) / width_s
            _curve(axes, run, np.arange(len(rate)) * width_s, rate, style, label)
    axes.set(xlabel="time, s", ylabel=f"requests/s ({width_s:g} s windows)", ylim=(0, None))
    legend(figure)
    return figure


def hit_ratio(runs: Runs) -> Figure:
    width_s = window_s(runs)
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        arrival_s, *tokens = run.over_time("arrival_s", "hit_tokens", "input_tokens")
        hits, prompts = (per_window(arrival_s, width_s, column) for column in tokens)
        some = np.flatnonzero(prompts)
        _curve(axes, run, some * width_s, hits[some] / prompts[some])
    axes.set(xlabel="arrival, s", ylabel="hit / prompt tokens", ylim=(0, 1.01))
    legend(figure)
    return figure


def _panels(runs: Runs, columns: dict[str, str], counts: bool) -> Figure:
    """A panel for each column of the samples: the whole cluster's, per second if it ``counts``."""
    figure = Figure(figsize=TALL, layout="constrained")
    for axes, (column, label) in zip(figure.subplots(len(columns), 1, sharex=True), columns.items(), strict=True):
        for run in runs:
            time_s, sampled = run.sampled(column)
            ends_s, values = merged(time_s, sampled.sum(axis=1), counts)
            _curve(axes, run, ends_s, values / np.diff(ends_s, prepend=0) if counts else values)
        axes.set(ylabel=label, ylim=(0, None))
    if not any(line.get_xdata().size for line in axes.lines):  # type: ignore[union-attr]
        raise Nothing(NO_SAMPLES)
    axes.set(xlabel="time, s")
    legend(figure)
    return figure


def requests_over_time(runs: Runs) -> Figure:
    return _panels(runs, {"running": "requests running", "waiting": "requests waiting"}, counts=False)


def tokens_over_time(runs: Runs) -> Figure:
    return _panels(runs, {"prefill_tokens": "prefill tokens/s", "decode_tokens": "decode tokens/s"}, counts=True)


def _share(column: str, label: str) -> Callable[[Runs], Figure]:
    """The mean over the instances, and shaded from the least to the greatest of them."""

    def draw(runs: Runs) -> Figure:
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        for run in runs:
            time_s, sampled = run.sampled(column)
            if len(time_s) == 0:
                continue
            each = [reduce(sampled, axis=1) for reduce in (np.mean, np.min, np.max)]
            mean, low, high = (merged(time_s, values, counts=False)[1] for values in each)
            ends_s = merged(time_s, each[0], counts=False)[0]
            _curve(axes, run, ends_s, mean)
            if run.instances > 1:
                band = axes.fill_between(ends_s, low, high, color=f"C{run.number % 10}", alpha=0.15, linewidth=0)
                mark(band, f"run-{run.number}")
        if not axes.lines:
            raise Nothing(NO_SAMPLES)
        axes.set(xlabel="time, s", ylabel=label, ylim=(0, None))
        legend(figure)
        return figure

    return draw


def slo(runs: Runs) -> Figure:
    if not any(run.has_objectives for run in runs):
        raise Nothing("The scenario sets no latency objectives.")
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", ":", "--", "-.")
    for run in runs:
        if not run.has_objectives:
            continue
        table = run.table("slo_over_time", "start_s", "slo_class", "requests", "good_requests")
        table = table[table["start_s"] < run.shown_s]
        for at, (name, rows) in enumerate(table.groupby("slo_class", observed=True)):
            counts = rows[["good_requests", "requests"]].to_numpy()
            start_s, totals = merged(rows["start_s"].to_numpy(), counts, counts=True)
            _curve(axes, run, start_s, totals[:, 0] / totals[:, 1], styles[at % len(styles)], f"{run.label}, {name}")
    if not axes.lines:
        raise Nothing("There are no windows of time: the scenario's series_interval_s is null.")
    axes.set(xlabel="arrival, s", ylabel="share of requests within the objectives", ylim=(0, 1.01))
    legend(figure)
    return figure


_OVER_TIME = "Median (line) and 99th percentile (dots), by time of arrival."
_BAND = "Mean over the instances; the band reaches from the least to the greatest."

CHARTS = (
    Chart("ttft_cdf", "Time to first token", "Of all requests, the front end included.", _cdf_of("ttft_s")),
    Chart("ttft_over_time", "Time to first token over time", _OVER_TIME, _latency_over_time("ttft_s")),
    Chart("tpot_cdf", "Time per output token", "Of each request, its mean after the first token.", _cdf_of("tpot_s")),
    Chart("tpot_over_time", "Time per output token over time", _OVER_TIME, _latency_over_time("tpot_s")),
    Chart("e2e_cdf", "End-to-end latency", "Of all requests, the front end included.", _cdf_of("e2e_s")),
    Chart("e2e_over_time", "End-to-end latency over time", _OVER_TIME, _latency_over_time("e2e_s")),
    Chart("itl_cdf", "Inter-token latency", "Of all tokens but the first, in bins 1 % wide.", itl_cdf),
    Chart("slo", "Objectives met over time", "Of the requests that arrive in each window.", slo),
    Chart("rates", "Requests per second", "Arriving (line) and finishing (dots), in the whole cluster.", rates),
    Chart("hit_ratio", "Prefix cache hits", "Of the prompts that arrive in each window.", hit_ratio),
    Chart("requests", "Requests in the cluster", "All instances together.", requests_over_time),
    Chart("tokens", "Tokens computed", "All instances together.", tokens_over_time),
    Chart("kv", "KV cache in use", _BAND, _share("kv_used_fraction", "KV blocks in use / usable")),
    Chart("busy", "Time with a step in flight", _BAND, _share("busy_fraction", "busy share of time")),
    Chart(
        "iteration_mix",
        "Iteration mix",
        "Iterations per second with prefill only, with prefill and decode, and with decode only; all instances.",
        iteration_mix,
        wide=True,
    ),
    Chart("rate_heat", "Requests per second and instance", "By arrival, at the last instance.", rate_heat, wide=True),
    Chart("queue_heat", "Queue of each instance", "Requests waiting there.", queue_heat, wide=True),
    Chart("kv_heat", "KV cache of each instance", "Share of its blocks that requests use.", kv_heat, wide=True),
    Chart("busy_heat", "Load of each instance", "Share of the time with a step in flight.", busy_heat, wide=True),
)
