"""Which family of renewal process the gaps between requests look like."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, gammainc, gammaln

LEAST_GAPS = 10
LEAST_CV = 1e-3  # of the positive gaps; more regular ones look like a clock, not like these families


@dataclass(frozen=True)
class GapFit:
    """A family fitted to the positive gaps by maximum likelihood.

    shape, scale_s: exponential has shape 1. aic: Akaike's criterion, smaller is better. ks: the
    Kolmogorov-Smirnov distance, the largest difference of the distribution functions, in [0, 1].
    """

    family: str
    shape: float
    scale_s: float
    log_likelihood: float
    aic: float
    ks: float


@dataclass(frozen=True)
class Gaps:
    """`zero_share`: gaps of exactly 0, as coarse clocks make; no family has them. `fits`: best AIC first.

    No fits for fewer than 10 positive gaps, nor for gaps with a CV below 0.001.
    """

    zero_share: float
    quantiles_s: dict[str, float]
    fits: tuple[GapFit, ...]


def describe_gaps(arrival_s: NDArray[np.float64]) -> Gaps:
    """`arrival_s`: sorted times of N >= 1 requests, in seconds."""
    gaps = np.sort(np.diff(arrival_s))
    positive = gaps[gaps > 0]
    zero_share = float(1 - len(positive) / len(gaps)) if len(gaps) else float("nan")
    quantiles = {f"p{q}": float(np.quantile(gaps, q / 100)) for q in (1, 10, 50, 90, 99)} if len(gaps) else {}
    if len(positive) < LEAST_GAPS or positive.std() < LEAST_CV * positive.mean():
        return Gaps(zero_share, quantiles, ())
    fits = (_exponential(positive), _gamma(positive), _weibull(positive))
    return Gaps(zero_share, quantiles, tuple(sorted(fits, key=lambda fit: fit.aic)))


def _exponential(gaps: NDArray[np.float64]) -> GapFit:
    mean = float(gaps.mean())
    log_likelihood = -len(gaps) * (np.log(mean) + 1)
    return _fit("exponential", 1, 1.0, mean, log_likelihood, -np.expm1(-gaps / mean))


def _gamma(gaps: NDArray[np.float64]) -> GapFit:
    """The shape k solves log k - digamma(k) = log(mean) - mean(log)."""
    mean, mean_log = gaps.mean(), np.log(gaps).mean()
    shape = np.exp(brentq(lambda x: x - digamma(np.exp(x)) - (np.log(mean) - mean_log), np.log(1e-4), np.log(1e8)))
    scale = mean / shape
    log_likelihood = len(gaps) * ((shape - 1) * mean_log - shape - gammaln(shape) - shape * np.log(scale))
    return _fit("gamma", 2, shape, scale, log_likelihood, gammainc(shape, gaps / scale))


def _weibull(gaps: NDArray[np.float64]) -> GapFit:
    """The shape k solves sum(x^k log x) / sum(x^k) - 1/k = mean(log x), with x over the largest gap."""
    log_x = np.log(gaps / gaps[-1])
    mean_log = log_x.mean()

    def excess(log_k: float) -> float:
        power = np.exp(np.exp(log_k) * log_x)
        return float(power @ log_x / power.sum() - np.exp(-log_k) - mean_log)

    shape = np.exp(brentq(excess, np.log(1e-4), np.log(1e8)))
    scale = gaps[-1] * np.exp(shape * log_x).mean() ** (1 / shape)
    log_ratio = np.log(gaps / scale)
    log_likelihood = len(gaps) * (np.log(shape / scale) + (shape - 1) * log_ratio.mean() - 1)
    return _fit("weibull", 2, shape, scale, log_likelihood, -np.expm1(-np.exp(shape * log_ratio)))


def _fit(
    family: str, parameters: int, shape: float, scale_s: float, log_likelihood: float, cdf: NDArray[np.float64]
) -> GapFit:
    """`cdf`: the family's distribution function at the sorted gaps."""
    steps = np.arange(len(cdf) + 1) / len(cdf)
    ks = max(np.abs(steps[1:] - cdf).max(), np.abs(cdf - steps[:-1]).max())
    aic = 2 * parameters - 2 * log_likelihood
    return GapFit(family, float(shape), float(scale_s), float(log_likelihood), float(aic), float(ks))
