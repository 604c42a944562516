"""Laws as a few points of their quantile function, which suit spikes, modes and tails alike."""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workloads.lengths import Empirical, Law

# Where laws are looked at: evenly, and closer together towards the tail.
LEVELS = np.union1d(np.linspace(0, 0.9, 601), 1 - np.append(np.geomspace(0.1, 4e-5, 400), 0))
FEWEST_POINTS, MOST_POINTS = 16, 254
ENOUGH = 0.3  # sum over LEVELS of |log(quantile / quantile)| between two points, from which on none is added there
LEVEL_UNIT = 1 / 65535
_TOP = 1 - 1e-6  # stands for level 1 where a law has no largest value
_EXACT_BELOW = 128  # larger values are rounded by less than 0.8 %


@dataclass(frozen=True, eq=False)
class QuantileTable:
    """The law whose quantile function is linear between K points, its values rounded to `digits` decimals.

    levels: (K,) from 0 to 1, not decreasing, multiples of LEVEL_UNIT. values: (K,), not decreasing. Two points at one
    level are a jump, two of one value an atom.
    """

    levels: NDArray[np.float64]
    values: NDArray[np.float64]
    digits: int = 0

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.round(np.interp(u, self.levels, self.values), self.digits)

    def mean(self) -> float:
        return float(np.trapezoid(self.values, self.levels))


def quantile_table(law: Law, points: int = MOST_POINTS, digits: int = 0) -> QuantileTable:
    """`law` in at most `points`, set one after the other where the table so far is farthest off.

    An empirical law of at most points / 2 values keeps them and their probabilities. digits: 0 for tokens and counts,
    3 for ratios.
    """
    if isinstance(law, QuantileTable):
        return law
    if isinstance(law, Empirical) and 2 * np.count_nonzero(law.probabilities) <= points:
        likely = law.probabilities > 0
        values = np.repeat(law.values[likely], 2)
        reached = np.append(0.0, np.cumsum(law.probabilities[likely] / law.probabilities.sum()))
        levels = np.repeat(reached, 2)[1:-1]
    else:
        quantiles = law.quantile(LEVELS.clip(max=_TOP))
        chosen = _chosen(LEVELS, quantiles, 10.0**-digits, points)
        levels, values = LEVELS[chosen], quantiles[chosen]
    return QuantileTable(np.rint(levels / LEVEL_UNIT) * LEVEL_UNIT, _rounded(values, digits), digits)


@njit(cache=True)
def _chosen(levels: NDArray[np.float64], values: NDArray[np.float64], unit: float, points: int) -> NDArray[np.int64]:
    """Which points to keep; the part with the largest sum of errors is split where its error is largest."""
    chosen = [0, len(levels) - 1]
    while len(chosen) < points:
        worst, split, after = ENOUGH, -1, 0
        for part in range(len(chosen) - 1):
            first, last = chosen[part], chosen[part + 1]
            slope = (values[last] - values[first]) / (levels[last] - levels[first])
            total, largest, at = 0.0, 0.0, -1
            for i in range(first + 1, last):
                drawn = values[first] + slope * (levels[i] - levels[first])
                error = abs(math.log((drawn + unit) / (values[i] + unit)))
                total += error
                if error > largest:
                    largest, at = error, i
            if total > worst and at > 0:
                worst, split, after = total, at, part
        if split < 0:
            break
        chosen.insert(after + 1, split)
    return np.array(chosen)


def _rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    whole = np.rint(values * 10**digits)
    unit = 2.0 ** np.ceil(np.log2((whole / _EXACT_BELOW).clip(min=1)))
    return np.rint(whole / unit) * unit / 10**digits
