"""Service-level objectives: which class a request belongs to, and which of its targets it meets (docs/slo.md)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workloads import Workload

from .errors import SimError, unknown_name
from .scenario import SloClass

PER_REQUEST = ("ttft_s", "tpot_s", "e2e_s")
NO_CLASS = -1


def slo_classes(slo: Sequence[SloClass], workload: Workload) -> NDArray[np.int64]:
    """For each request the index of the first class that it belongs to, else `NO_CLASS`.

    Raises `SimError` for a class of requests that the workload does not have.
    """
    classes = np.full(len(workload), NO_CLASS)
    for index, one in enumerate(slo):
        member = np.ones(len(workload), bool)
        for name, value in one.selectors.items():
            column, wanted = getattr(workload, name), value
            if name == "category":
                if value not in workload.category_names:
                    raise SimError(unknown_name(f"slo.{index}.category", value, workload.category_names))
                wanted = workload.category_names.index(value)
            elif value not in column:
                raise SimError(
                    f"slo.{index}.{name}: no request has {value}; the workload has {column.min()} to {column.max()}"
                )
            member &= column == wanted
        classes[member & (classes == NO_CLASS)] = index
    return classes


def itl_classes(slo: Sequence[SloClass], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whose histogram of inter-token latencies counts each request: its class's, or one for all without a class."""
    return np.where(classes == NO_CLASS, len(slo), classes)


def labels(slo: Sequence[SloClass]) -> list[str]:
    """What each class is called in tables: its selectors."""
    rest = "all others" if len(slo) > 1 else "all requests"
    return [", ".join(f"{name} {value}" for name, value in one.selectors.items()) or rest for one in slo]


def judge(slo: Sequence[SloClass], classes: NDArray[np.int64], requests: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``requests`` (docs/results.md) whose class, an index each, is not `NO_CLASS`.

    Columns: ``slo_class``, the metrics of `PER_REQUEST` (1.0 where the target is met, 0.0 where it is missed, NaN where
    the class has none), and ``good``, whether none is missed. A request of one output token has no TPOT and meets any;
    one that was rejected misses everything.
    """
    judged = requests[["arrival_s", "client", "output_tokens"]].copy()
    judged["slo_class"] = classes
    served = ~requests["rejected"].to_numpy() if "rejected" in requests else np.ones(len(requests), bool)
    good = served.copy()
    for metric in PER_REQUEST:
        target_s = _targets_s(slo, metric, classes, requests["input_tokens"].to_numpy())
        met = requests[metric].to_numpy() <= target_s
        if metric == "tpot_s":
            met |= requests["output_tokens"].to_numpy() == 1
        none = np.isnan(target_s)
        judged[metric] = np.where(none, np.nan, met & served)
        good &= met | none
    judged["good"] = good
    return judged[classes != NO_CLASS]


def _targets_s(
    slo: Sequence[SloClass], metric: str, classes: NDArray[np.int64], input_tokens: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Each request's target: absolute + slope x input tokens; NaN where its class has none, or it has no class."""
    absolute_s, slope_s = np.full((2, len(slo) + 1), np.nan)  # the last is that of `NO_CLASS`
    for index, one in enumerate(slo):
        parts = [getattr(one, metric), getattr(one, f"{metric}_per_1k_input_tokens", None)]
        if parts != [None, None]:
            absolute_s[index], slope_s[index] = (part or 0.0 for part in parts)
    return np.asarray(absolute_s[classes] + slope_s[classes] * input_tokens / 1000)
