"""The study's figures; each gives a sheet."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import published
from .curves import AWARE, BASE, by_policy, gains
from .reuse import ClassReuse, Reuse

POINTS = 400  # of a distribution function


def _sheet(panels: int) -> tuple[Figure, list[Any]]:
    sheet = Figure(figsize=(4.6 * panels, 3.6), layout="constrained")
    return sheet, list(np.atleast_1d(sheet.subplots(1, panels)))


def reuse_times(measured: Mapping[str, Reuse]) -> Figure:
    """A panel per workload: distribution functions by category and turn, dashed the exponential of the same mean.

    What is shorter than the clock tells, or than 0.01 s, is at the left edge.
    """
    sheet, axes = _sheet(len(measured))
    for ax, (title, reuse) in zip(axes, measured.items(), strict=True):
        for color, one in enumerate(one for one in reuse.classes if len(one.wait_s)):
            _draw_class(ax, one, f"C{color}")
        ax.set(title=title, xlabel="time until the next use, s", ylabel="share of reuses", xscale="log", ylim=(0, 1))
        ax.legend(fontsize="x-small")
    return sheet


def _draw_class(ax: Any, one: ClassReuse, color: str) -> None:
    share = np.linspace(0, 1, POINTS)
    wait_s = np.maximum(np.quantile(one.wait_s, share), 0.01)
    ax.plot(wait_s, share, color=color, label=f"{one.name}: p = {one.probability:.2f}")
    ax.plot(wait_s, 1 - np.exp(-wait_s / one.wait_s.mean()), color=color, linestyle="--", linewidth=0.7)


def life_spans(measured: Mapping[str, Reuse]) -> Figure:
    """All workloads in one panel: share of the blocks that are dead by then, at the left edge those used once."""
    sheet, (ax,) = _sheet(1)
    share = np.linspace(0, 1, POINTS)
    for title, reuse in measured.items():
        ax.plot(np.maximum(np.quantile(reuse.life_s, share), 0.1), share, label=title)
    for name, paper in (("A", published.CONSUMER), ("B", published.BUSINESS)):
        ax.plot(paper.dead_after_s, 0.9, "k^" if name == "A" else "kv", label=f"published, {name}")
    ax.set(xlabel="time from first to last use, s", ylabel="share of blocks", xscale="log", ylim=(0, 1.02))
    ax.legend(fontsize="x-small")
    return sheet


def hit_ratios(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel per workload: means by policy and capacity, shaded the range of the seeds."""
    sheet, axes = _sheet(len(tables))
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        seeds = by_policy(table).groupby("capacity_blocks")
        mean, low, high = seeds.mean(), seeds.min(), seeds.max()
        for name in reversed(mean.columns):  # workload-aware first and broad, as others may lie on it
            ax.plot(mean.index, mean[name], marker="o", markersize=3, label=name, linewidth=4 if name == AWARE else 1.2)
            ax.fill_between(mean.index, low[name], high[name], alpha=0.15)
        unbounded = table[table.capacity_blocks.isna()].block_hit_ratio.mean()
        ax.axhline(unbounded, color="grey", linestyle="--", linewidth=0.8, label="unbounded")
        ax.set(title=title, xlabel="capacity, blocks", ylabel="block hit ratio", xscale="log", ylim=(0, None))
    axes[-1].legend(fontsize="x-small")
    return sheet


def gain(table: pd.DataFrame, causes: pd.DataFrame) -> Figure:
    """Left what workload-aware gains on the consumer workload, beside what is published; right over LRU by variant."""
    sheet, (left, right) = _sheet(2)
    _draw_ranges(left, gains(table)[["over LRU", "over the best"]])
    capacities = list(published.HIT_RATIOS)
    points = [100 * (aware - base) for aware, base in published.HIT_RATIOS.values()]
    left.plot(capacities, points, "k^", label="published, over LRU")
    left.axhspan(*published.OVER_BEST_POINTS, color="grey", alpha=0.15, label="published, over the best")
    left.set(title="as it is")
    _draw_ranges(right, causes)
    right.set(title="over LRU, by variant")
    for ax in (left, right):
        ax.axhline(0, color="grey", linewidth=0.8)
        ax.set(xlabel="capacity, blocks of 16 tokens", ylabel="gain, points of hit ratio", xscale="log")
        ax.legend(fontsize="x-small")
    return sheet


def _draw_ranges(ax: Any, points: pd.DataFrame) -> None:
    seeds = points.groupby("capacity_blocks")
    mean, low, high = seeds.mean(), seeds.min(), seeds.max()
    for name in mean:
        ax.plot(mean.index, mean[name], marker="o", markersize=3, label=name)
        ax.fill_between(mean.index, low[name], high[name], alpha=0.2)


def loaded(tables: Mapping[str, pd.DataFrame], policies: Mapping[str, str]) -> Figure:
    """A column per workload: above the mean queue time under LRU by rate, below what the policy changes of it, a line
    per number of KV blocks, shaded the range of the seeds."""
    sheet = Figure(figsize=(4.6 * len(tables), 6.4), layout="constrained")
    axes = sheet.subplots(2, len(tables), squeeze=False)
    for (above, below), (title, table) in zip(axes.T, tables.items(), strict=True):
        queue_s = table[~table.idle].pivot_table(
            index=["held_blocks", "rate_per_s", "seed"], columns="eviction", values="queue_mean_s"
        )
        for blocks, of in queue_s.groupby("held_blocks"):
            mean_s = of[BASE].groupby("rate_per_s").mean()
            above.plot(mean_s.index, mean_s, marker="o", markersize=3, label=f"{blocks:,} blocks")
            percent = (100 * (of[policies[title]] / of[BASE] - 1)).groupby("rate_per_s")
            below.plot(mean_s.index, percent.mean(), marker="o", markersize=3)
            below.fill_between(mean_s.index, percent.min(), percent.max(), alpha=0.15)
        above.set(title=title, ylabel="mean queue time under LRU, s", yscale="log")
        below.axhspan(*published.QUEUEING_PERCENT, color="grey", alpha=0.15, label="published, trace A")
        below.axhline(0, color="grey", linewidth=0.8)
        below.set(xlabel="requests/s", ylabel=f"{policies[title]}: change of the queue time, %")
        above.legend(fontsize="x-small")
        below.legend(fontsize="x-small")
    return sheet
