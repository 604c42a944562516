"""Family and CV of the gaps of a client, window by window."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from workloads.arrivals import FAMILIES, GAMMA, LEAST_CV, MOST_CV, POISSON, Arrivals
from workloads.characterize.gaps import GapFit, describe_gaps

LEAST_GAPS = 30  # of a window; with fewer it takes the fit of all the client's gaps
TIE_AIC = 6.0  # families whose Akaike criteria differ by less are not told apart by it (Burnham, Anderson 2002)
KS_CRITICAL = 1.63  # over sqrt(n): the distance that a sample of the family exceeds with probability 1 %


def fit_arrivals(arrival_s: NDArray[np.float64], edges_s: NDArray[np.float64]) -> Arrivals:
    """The renewal process of a client with sorted arrivals in [edges_s[0], edges_s[-1]], of at least one.

    The rate is that of the counts. In windows with fewer than LEAST_GAPS gaps, family and CV are those of all gaps of
    the client, each times the rate at its end; where these are too few as well, the family is Poisson.
    """
    windows = len(edges_s) - 1
    window = np.searchsorted(edges_s, arrival_s, side="right").clip(1, windows) - 1
    counts = np.bincount(window, minlength=windows)
    rate = counts / np.diff(edges_s)
    gaps = np.diff(arrival_s)
    family, cv = np.zeros(windows, np.int8), np.zeros(windows)
    overall = fit_gaps(gaps * rate[window[1:]])
    first = np.append(0, np.cumsum(counts))
    for w in np.flatnonzero(counts):
        own = gaps[first[w] : first[w + 1] - 1]
        family[w], cv[w] = fit_gaps(own) if len(own) >= LEAST_GAPS else overall
    return Arrivals(rate, cv, family, np.empty(0))


def fit_gaps(gaps: NDArray[np.float64]) -> tuple[int, float]:
    """(family, CV) of these gaps: Poisson, Gamma or Weibull.

    The family has the best Akaike criterion. Of those within TIE_AIC of it, Poisson is taken for its fewer parameters,
    and otherwise the one of the least Kolmogorov-Smirnov distance. The CV is that of its maximum-likelihood fit where
    the distance may be chance, at 1 %. Where no family fits, as with arrivals on ticks of a clock, it is that of the
    sample, which keeps the counts as dispersed as they are.
    """
    if len(gaps) < LEAST_GAPS:
        return POISSON, 1.0
    described = describe_gaps(np.append(0.0, np.cumsum(gaps)))
    if described.fits:
        good = [fit for fit in described.fits if fit.aic - described.fits[0].aic < TIE_AIC]
        best = min(good, key=lambda fit: (fit.family != "exponential", fit.ks))
        if described.zero_share == 0 and best.ks <= KS_CRITICAL / math.sqrt(len(gaps)):
            return (POISSON if best.family == "exponential" else FAMILIES.index(best.family)), _limited(_cv(best))
        if best.family == "weibull":
            return FAMILIES.index("weibull"), _limited(float(gaps.std() / gaps.mean()))
    return GAMMA, _limited(float(gaps.std() / gaps.mean()) if gaps.mean() > 0 else 1.0)


def _cv(fit: GapFit) -> float:
    """Standard deviation over mean of the family with this shape."""
    if fit.family == "gamma":
        return fit.shape**-0.5
    if fit.family == "weibull":
        return math.sqrt(math.expm1(float(gammaln(1 + 2 / fit.shape) - 2 * gammaln(1 + 1 / fit.shape))))
    return 1.0


def _limited(cv: float) -> float:
    return min(max(cv, LEAST_CV), MOST_CV)
