"""The study's numbers as Markdown."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workloads.characterize.description import Description

from ..markdown import markdown
from . import published
from .curves import AWARE, BASE, by_policy, gains
from .reuse import Reuse, distance_from_exponential


class Measured(NamedTuple):
    """A workload's description, its reuse as replayed, and the block hit ratio of its replay without a bound."""

    description: Description
    reuse: Reuse
    unbounded: float


def characterization(measured: Mapping[str, Measured]) -> str:
    """The published traces A and B and then the workloads, a column each."""
    papers = (published.CONSUMER, published.BUSINESS)
    blank = ["", ""]
    ideal = [f"{paper.ideal_hit_ratio:.0%}" for paper in papers]
    within = {
        seconds: ["80 %" if paper.within_s == seconds else "" for paper in papers]
        for seconds in (published.BUSINESS.within_s, published.CONSUMER.within_s)
    }
    dead = [f"{paper.dead_after_s:g} s" for paper in papers]
    next_turn = [_next_turn(paper.next_turn) for paper in papers]
    each = list(measured.values())
    rows = [
        ["ideal hit ratio, by tokens", *ideal, *(f"{one.description.reuse.hit_ratio:.1%}" for one in each)],
        ["by blocks, answers not cached", *blank, *(f"{one.unbounded:.1%}" for one in each)],
        *(
            [f"reuses within {seconds:g} s", *cells, *(f"{one.reuse.within(seconds):.1%}" for one in each)]
            for seconds, cells in within.items()
        ),
        ["blocks that are used again", *blank, *(f"{(one.reuse.life_s > 0).mean():.1%}" for one in each)],
        ["90 % of the blocks are dead after", *dead, *(f"{_quantile(one.reuse.life_s, 0.9):,.0f} s" for one in each)],
        [
            "of those used again, half; 90 %",
            *blank,
            *(f"{_quantile(_reused(one), 0.5):,.0f} s; {_quantile(_reused(one), 0.9):,.0f} s" for one in each),
        ],
        ["next turn after turn 1; later", *next_turn, *(_next_turn(_goes_on(one)) for one in each)],
    ]
    return markdown(["", "published, A", "published, B", *measured], rows)


def _quantile(ascending: NDArray[np.float64], share: float) -> float:
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)]


def _reused(one: Measured) -> NDArray[np.float64]:
    return one.reuse.life_s[one.reuse.life_s > 0]


def _goes_on(one: Measured) -> tuple[float, float] | None:
    talks = one.description.conversations
    return None if talks is None or talks.next_turn[0] == 0 else (talks.next_turn[0], talks.next_turn[1])


def _next_turn(probabilities: tuple[float, float] | None) -> str:
    return "" if probabilities is None else f"{probabilities[0]:.2f}; {probabilities[1]:.2f}"


def classes(reuse: Reuse) -> str:
    """A row per category and turn."""
    rows = [
        [
            one.name,
            f"{one.share:.1%}",
            f"{one.probability:.3f}",
            f"{one.wait_s.mean():,.0f} s",
            f"{_quantile(one.wait_s, 0.5):,.0f} s",
            f"{distance_from_exponential(one.wait_s):.2f}",
        ]
        for one in reuse.classes
        if len(one.wait_s)
    ]
    return markdown(["category, turn", "block uses", "used again", "after, mean", "median", "KS distance"], rows)


def hit_ratios(table: pd.DataFrame) -> str:
    """Means over the seeds, a row per policy, a column per capacity; last the widest range among the seeds."""
    seeds = by_policy(table).groupby("capacity_blocks")
    mean, spread = seeds.mean(), (seeds.max() - seeds.min()).max()
    rows = [[str(name), *(f"{ratio:.3f}" for ratio in mean[name]), f"{spread[name]:.3f}"] for name in mean.columns]
    unbounded = table[table.capacity_blocks.isna()].block_hit_ratio
    empty = [""] * (len(mean) - 1)
    rows.append(["unbounded", f"{unbounded.mean():.3f}", *empty, f"{unbounded.max() - unbounded.min():.3f}"])
    return markdown(["policy", *(f"{capacity:,}" for capacity in mean.index), "range"], rows)


def gain_table(table: pd.DataFrame) -> str:
    """Of the consumer workload, beside what is published; points as mean (lowest to highest of the seeds)."""
    ratios = by_policy(table).groupby("capacity_blocks").mean()
    points = gains(table).groupby("capacity_blocks")
    rows = []
    for capacity in ratios.index:
        pair, difference = _published(capacity)
        here = f"{ratios[AWARE][capacity]:.3f} / {ratios[BASE][capacity]:.3f}"
        gained = [_points(column) for _, column in points.get_group(capacity).items()]
        rows.append([f"{capacity:,}", pair, here, difference, *gained])
    low, high = published.OVER_BEST_POINTS
    least, most = published.OVER_OTHERS_POINTS
    bounds = f"{low:+.1f} to {high:+.1f}"
    rows.append(["published, all", "", "", "", "", bounds, f"{least:+.1f} to {most:+.1f} over the others"])
    head = ["capacity", "published, aware / LRU", "here, aware / LRU", "published, points", *points.obj.columns]
    return markdown(head, rows)


def _published(capacity: int) -> tuple[str, str]:
    """Both hit ratios and their difference in points; empty for a capacity that is not published."""
    if capacity not in published.HIT_RATIOS:
        return "", ""
    aware, base = published.HIT_RATIOS[capacity]
    return f"{aware:.3f} / {base:.3f}", f"{100 * (aware - base):+.1f}"


def _points(seeds: pd.Series) -> str:
    return f"{seeds.mean():+.2f} ({seeds.min():+.2f} to {seeds.max():+.2f})"


def causes(seeds: pd.DataFrame) -> str:
    """Points over LRU by variant, as mean (lowest to highest of the seeds)."""
    by_capacity = seeds.groupby("capacity_blocks")
    rows = [[f"{capacity:,}", *(_points(column) for _, column in group.items())] for capacity, group in by_capacity]
    return markdown(["capacity", *seeds.columns], rows)


def facts(long_prompts: Mapping[str, float]) -> str:
    """What the long single prompts are like."""
    rows = [[name, f"{value:,.0f}" if value > 1 else f"{value:.1%}"] for name, value in long_prompts.items()]
    return markdown(["long single prompts", ""], rows)
