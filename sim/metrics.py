"""Latency metrics and their summaries: the one place where they are defined.

* TTFT: arrival to the first token at the client, the server's front end included.
* TPOT: (finish - first token) / (output tokens - 1); NaN for a single token.
* ITL: time between two consecutive tokens of a request.
* E2E: arrival to the last token at the client, front end included.
* Queue time: arrival to the start of the step that first schedules the request.
"""

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50, 90, 95, 99)
Floats = NDArray[np.float64]


def distribution(values: Floats) -> dict[str, float | None]:
    """Mean and percentiles (linear interpolation) of the values that are numbers; None where there are none."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return {"mean": None, **{f"p{p}": None for p in PERCENTILES}}
    quantiles = np.percentile(values, PERCENTILES)
    return {"mean": float(values.mean()), **{f"p{p}": float(q) for p, q in zip(PERCENTILES, quantiles, strict=True)}}


def histogram_distribution(edges_s: Floats, counts: NDArray[np.int64]) -> dict[str, float | None]:
    """The same from a histogram, each bin at its geometric middle: right to half a bin (0.5 % in the 1 % bins).

    ``edges_s`` has one entry more than ``counts``; the first and the last bin are open and count at their inner edge.
    """
    total = int(counts.sum())
    if total == 0:
        return distribution(np.zeros(0))
    middle = np.sqrt(edges_s[:-1] * edges_s[1:])
    middle[0], middle[-1] = edges_s[1], edges_s[-2]
    upto = np.cumsum(counts)
    quantiles = {f"p{p}": float(middle[np.searchsorted(upto, p / 100 * total)]) for p in PERCENTILES}
    return {"mean": float((middle * counts).sum() / total), **quantiles}


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``, or None where there is no whole."""
    return part / whole if whole else None
