"""How far a mean over successive requests can be trusted: the method of batch means.

Neighbours wait in the same queue, so their latencies are far from independent. The series, in order of arrival, is cut
into `BATCHES` runs of successive values; the means of long enough ones are all but independent, and Student's interval
over them is that of the whole mean. What correlation is left between neighbouring batches, r, widens it as that of a
first-order autoregressive series does, whose mean has (1 + r) / (1 - r) times the variance; too much of it, and there
is no interval. Source: Law, Simulation Modeling and Analysis, section 9.5.3.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from .statistics import CONFIDENCE

BATCHES = 10  # 10 to 30 are best: Schmeiser, Operations Research 30 (1982)
FEWEST_VALUES = 20 * BATCHES
MOST_CORRELATION = 0.3  # of independent batches, one series in ten exceeds it
TOO_FEW = f"fewer than {FEWEST_VALUES}"
CORRELATED = f"the means of {BATCHES} batches are correlated: the run is too short, or changes with time"

Floats = NDArray[np.float64]


class HalfWidth(NamedTuple):
    """Half the width of a 95 % interval around a mean; or None, and why there is none."""

    value: float | None
    absent: str | None = None


class Share(NamedTuple):
    """A share of requests and its 95 % interval; None where there is none."""

    share: float | None
    low: float | None = None
    high: float | None = None


def half_width(values: Floats) -> HalfWidth:
    """Of the mean of a series in order of time; it takes at least `FEWEST_VALUES` values."""
    return HalfWidth(None, TOO_FEW) if len(values) < FEWEST_VALUES else _half_width(_batch_means(values))


def half_width_of_rate(times_s: Floats, weights: NDArray[np.int64], span_s: tuple[float, float]) -> HalfWidth:
    """Of the weights per second of what happens at ``times_s`` in the whole span; batches are equal shares of it."""
    if len(times_s) < FEWEST_VALUES or span_s[0] == span_s[1]:
        return HalfWidth(None, TOO_FEW)
    done, edges_s = np.histogram(times_s, BATCHES, span_s, weights=weights)
    return _half_width(done / np.diff(edges_s))


def _half_width(means: Floats) -> HalfWidth:
    variance = _variance_of_mean(means)
    if variance is None:
        return HalfWidth(None, CORRELATED)
    return HalfWidth(_quantile() * float(np.sqrt(variance)))


def share_interval(met: NDArray[np.bool_]) -> Share:
    """The share of those that are true, in order of time, with Wilson's interval for as many independent requests as
    vary alike, and Student's quantile.

    The variance of the share over that for independent requests, p (1 - p) / n, is the design effect: n correlated
    requests count for n / effect. Sources: Wilson, J. Am. Stat. Assoc. 22 (1927); Kish, Survey Sampling (1965).
    """
    n = len(met)
    if n == 0:
        return Share(None)
    share = float(met.mean())
    variance = None if n < FEWEST_VALUES else _variance_of_mean(_batch_means(met.astype(np.float64)))
    if variance is None:
        return Share(share)
    independent = share * (1 - share) / n
    count = n / max(1.0, variance / independent) if independent > 0 else n
    t = _quantile()
    middle = (share + t**2 / (2 * count)) / (1 + t**2 / count)
    half = t / (1 + t**2 / count) * float(np.sqrt(share * (1 - share) / count + (t / (2 * count)) ** 2))
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def _batch_means(values: Floats) -> Floats:
    return np.array([batch.mean() for batch in np.array_split(values, BATCHES)])


def _quantile() -> float:
    return float(stdtrit(BATCHES - 1, (1 + CONFIDENCE) / 2))


def _variance_of_mean(means: Floats) -> float | None:
    """Of the mean of the batches; None where neighbours are too much alike."""
    off = means - means.mean()
    square = float(off @ off)
    if square == 0:
        return 0.0
    correlation = float(off[1:] @ off[:-1]) / square
    if correlation > MOST_CORRELATION:
        return None
    left = max(0.0, correlation + 1 / BATCHES)  # independent batches have -1 / BATCHES on average
    return square / (BATCHES - 1) / BATCHES * (1 + left) / (1 - left)
