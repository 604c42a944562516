"""Means over seeds and how far they can be trusted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

CONFIDENCE = 0.95  # two-sided


@dataclass(frozen=True)
class Interval:
    """Mean of the values of ``seeds`` seeds and its confidence interval; NaN where there are too few of them."""

    seeds: int
    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """-1 or 1 where the whole interval is on that side of zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def t_interval(values: ArrayLike) -> Interval:
    """Student's interval: mean +- t(n - 1) s / sqrt(n), for n independent values; NaNs among them do not count.

    Exact for normal values; needs n >= 2. Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return Interval(0, float("nan"), float("nan"), float("nan"))
    mean = float(known.mean())
    if n == 1:
        return Interval(1, mean, float("nan"), float("nan"))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * known.std(ddof=1) / np.sqrt(n))
    return Interval(n, mean, mean - half, mean + half)


def paired_difference(values: ArrayLike, baseline: ArrayLike) -> tuple[Interval, float]:
    """Of ``values - baseline``, seed by seed where both are known: the interval, and its mean over the baseline's.

    The requests of a seed are the same on both sides, so that what they contribute to the spread cancels.
    """
    values, baseline = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    interval = t_interval(values - baseline)
    both = ~np.isnan(values - baseline)
    whole = float(baseline[both].mean()) if both.any() else 0.0
    return interval, interval.mean / whole if whole else float("nan")
