"""Millions of requests and samples as few points: a report shows these, and never one a request."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workloads.characterize.arrivals import suitable_window_s

from .runs import Run

MOST_POINTS = 500  # of a curve
MOST_ROWS = 200  # of a heat map
Floats = NDArray[np.float64]


def cdf(values: Floats) -> tuple[Floats, Floats]:
    """At most `MOST_POINTS` of the values, ascending, and the share of all values that are not above; NaN left out."""
    values = np.sort(values[~np.isnan(values)])
    if len(values) == 0:
        return values, values
    places = np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(np.int64))
    return values[places], (places + 1) / len(values)


def binned_cdf(high_s: Floats, count: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The same of a histogram with these upper edges."""
    share = np.cumsum(count) / max(int(count.sum()), 1)
    places = np.unique(np.linspace(0, len(share) - 1, min(len(share), MOST_POINTS)).round().astype(np.int64))
    return high_s[places], share[places]


def window_s(runs: Sequence[Run]) -> float:
    """One width for the time windows of all runs, so that there are at most `MOST_POINTS`."""
    shown_s = runs[0].shown_s
    return max(suitable_window_s(shown_s), shown_s / (MOST_POINTS - 1))


def per_window(time_s: Floats, width_s: float, weights: Floats | None = None) -> Floats:
    """How many of the times, or how much of their weights, are in each window from 0 on."""
    return np.bincount((time_s / width_s).astype(np.int64), weights).astype(np.float64)


def quantiles_per_window(time_s: Floats, values: Floats, width_s: float, quantiles: Sequence[float]) -> pd.DataFrame:
    """A row per window with any value, indexed by its start in s; a column per quantile."""
    start_s = (time_s / width_s).astype(np.int64) * width_s
    return pd.Series(values).groupby(start_s).quantile(np.array(quantiles)).unstack()


def merged(time_s: Floats, sampled: NDArray, counts: bool, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """Neighbouring samples as one, until at most ``most`` are left: the last time of each group, and the sum of what
    ``counts``, else the mean.
    """
    size = max(1, -(-len(time_s) // most))
    first = np.arange(0, len(time_s), size)
    if len(first) == 0:
        return time_s, sampled.astype(np.float64)
    groups = np.add.reduceat(sampled.astype(np.float64), first, axis=0)
    sizes = np.diff(np.append(first, len(time_s)))
    ends = time_s[first + sizes - 1]
    return ends, groups if counts else groups / sizes.reshape(-1, *[1] * (sampled.ndim - 1))


def rows_merged(by_instance: Floats) -> tuple[Floats, int]:
    """[times, instances] with neighbouring instances as one, their mean, until `MOST_ROWS` are left; how many each
    stands for.
    """
    means = merged(np.arange(by_instance.shape[1], dtype=np.float64), by_instance.T, counts=False, most=MOST_ROWS)[1]
    return means.T, max(1, -(-by_instance.shape[1] // MOST_ROWS))
