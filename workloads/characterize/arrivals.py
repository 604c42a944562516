"""When requests come: rate over time, burstiness within windows, dispersion of counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DISPERSION_BINS_S = (1, 10, 60)
LEAST_GAPS = 10  # of a window, for its CV to say something
LEAST_BINS = 10  # for an index of dispersion or a peak
WINDOWS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
MOST_WINDOWS = 200


@dataclass(frozen=True)
class ArrivalStatistics:
    """Per window of `window_s` from the first arrival on (W of them): start, requests per second, CV of the gaps.

    A gap belongs to the window in which it ends; a window with fewer than 10 gaps has a CV of NaN. The last window
    has a rate of NaN if the workload covers less than half of it.
    dispersion: by bin width in seconds, the variance of the counts per bin over their mean, 1 for a Poisson process.
    peak_to_mean: by bin width, the largest count over the mean. Both are of whole bins, NaN for fewer than 10.
    """

    span_s: float
    mean_rate_per_s: float
    gap_cv: float
    window_s: float
    window_start_s: NDArray[np.float64]
    rate_per_s: NDArray[np.float64]
    window_cv: NDArray[np.float64]
    dispersion: dict[int, float]
    peak_to_mean: dict[int, float]


def describe_arrivals(arrival_s: NDArray[np.float64], window_s: float) -> ArrivalStatistics:
    """`arrival_s`: sorted times of N >= 1 requests, in seconds."""
    since_s = arrival_s - arrival_s[0]
    span_s = float(since_s[-1])
    window = (since_s / window_s).astype(np.int64)
    windows = int(window[-1]) + 1
    start_s = np.arange(windows) * window_s
    covered_s = np.minimum(window_s, span_s - start_s)  # the last window ends with the last arrival
    enough = covered_s >= window_s / 2
    rate_per_s = np.divide(np.bincount(window), covered_s, out=np.full(windows, np.nan), where=enough)
    gaps = np.diff(since_s)
    return ArrivalStatistics(
        span_s=span_s,
        mean_rate_per_s=len(gaps) / span_s if span_s > 0 else float("nan"),
        gap_cv=float(gaps.std() / gaps.mean()) if span_s > 0 else float("nan"),
        window_s=window_s,
        window_start_s=start_s + arrival_s[0],
        rate_per_s=rate_per_s,
        window_cv=_cv_per_window(gaps, window[1:], windows),
        dispersion={bin_s: dispersion(since_s, bin_s) for bin_s in DISPERSION_BINS_S},
        peak_to_mean={bin_s: peak_to_mean(since_s, bin_s) for bin_s in DISPERSION_BINS_S},
    )


def suitable_window_s(span_s: float) -> float:
    """The shortest customary window of which at most 200 cover `span_s`."""
    return float(next((width for width in WINDOWS_S if span_s <= width * MOST_WINDOWS), WINDOWS_S[-1]))


def dispersion(since_s: NDArray[np.float64], bin_s: float) -> float:
    """Variance over mean of the counts per whole bin; `since_s` are sorted times from 0 on."""
    counts = _whole_bins(since_s, bin_s)
    return float(counts.var() / counts.mean()) if len(counts) >= LEAST_BINS else float("nan")


def peak_to_mean(since_s: NDArray[np.float64], bin_s: float) -> float:
    """Largest over mean count per whole bin; `since_s` are sorted times from 0 on."""
    counts = _whole_bins(since_s, bin_s)
    return float(counts.max() / counts.mean()) if len(counts) >= LEAST_BINS else float("nan")


def _whole_bins(since_s: NDArray[np.float64], bin_s: float) -> NDArray[np.int64]:
    bins = int(since_s[-1] // bin_s)
    return np.diff(np.searchsorted(since_s, np.arange(bins + 1) * bin_s))


def _cv_per_window(gaps: NDArray[np.float64], window: NDArray[np.int64], windows: int) -> NDArray[np.float64]:
    count = np.bincount(window, minlength=windows)
    some = np.maximum(count, 1)
    mean = np.bincount(window, gaps, windows) / some
    variance = np.bincount(window, (gaps - mean[window]) ** 2, windows) / some
    enough = (count >= LEAST_GAPS) & (mean > 0)
    return np.divide(np.sqrt(variance), mean, out=np.full(windows, np.nan), where=enough)
