"""How long prompts and answers are, overall and over time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"p1": 0.01, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
WINDOW_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True)
class LengthStatistics:
    """Tokens of prompts or of answers.

    cdf_tokens, cdf: the distribution function at up to 200 of the lengths that occur.
    window_mean, window_quantiles: per window of the arrivals (W of them), NaN where it has no request.
    """

    mean: float
    cv: float
    most: int
    quantiles: dict[str, float]
    cdf_tokens: NDArray[np.int64]
    cdf: NDArray[np.float64]
    window_mean: NDArray[np.float64]
    window_quantiles: dict[str, NDArray[np.float64]]


def describe_lengths(tokens: NDArray[np.int32], window: NDArray[np.int64], windows: int) -> LengthStatistics:
    """`tokens` and the window of each of N >= 1 requests, numbered from 0 to `windows` - 1."""
    order = np.lexsort((tokens, window))
    by_window = tokens[order].astype(np.float64)
    first = np.searchsorted(window[order], np.arange(windows + 1))
    count = np.diff(first)
    some = count > 0
    mean = np.divide(np.bincount(window, tokens, windows), count, out=np.full(windows, np.nan), where=some)
    quantiles = {}
    for name, q in WINDOW_QUANTILES.items():
        at = np.clip(first[:-1] + np.ceil(q * count).astype(np.int64) - 1, 0, len(tokens) - 1)
        quantiles[name] = np.where(some, by_window[at], np.nan)
    ordered = np.sort(tokens)
    at = np.unique(np.linspace(0, len(ordered) - 1, 200).astype(np.int64))
    cdf_tokens = np.unique(ordered[at]).astype(np.int64)
    return LengthStatistics(
        mean=float(tokens.mean()),
        cv=float(tokens.std() / tokens.mean()),
        most=int(ordered[-1]),
        quantiles={name: float(np.quantile(ordered, q)) for name, q in QUANTILES.items()},
        cdf_tokens=cdf_tokens,
        cdf=np.searchsorted(ordered, cdf_tokens, side="right") / len(ordered),
        window_mean=mean,
        window_quantiles=quantiles,
    )
