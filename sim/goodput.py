"""Attainment and goodput: what share of the requests met their SLO, by class, by client and over time (docs/slo.md)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .batch_means import share_interval
from .metrics import histogram_distribution, ratio
from .scenario import SloClass
from .slo import PER_REQUEST, labels


def slo_summary(
    slo: Sequence[SloClass],
    judged: pd.DataFrame,
    itl_edges_s: NDArray[np.float64],
    itl_counts: NDArray[np.int64],
    duration_s: float,
) -> dict[str, Any]:
    """Of all classes and of each. ``judged`` is that of `sim.slo.judge` in order of arrival; ``itl_counts`` has a row a
    class.
    """
    classes = [
        {"class": name}
        | _class_summary(one, judged[judged["slo_class"] == index], itl_edges_s, itl_counts[index], duration_s)
        for index, (name, one) in enumerate(zip(labels(slo), slo, strict=True))
    ]
    return {
        **_goodput(judged, duration_s),
        "holds": all(one["holds"] for one in classes if one["holds"] is not None),
        "classes": classes,
    }


def _goodput(judged: pd.DataFrame, duration_s: float) -> dict[str, Any]:
    good = judged["good"].to_numpy()
    return {
        "requests": len(judged),
        "good": share_interval(good)._asdict(),
        "good_requests_per_s": ratio(int(good.sum()), duration_s),
        "good_output_tokens_per_s": ratio(int(judged["output_tokens"].to_numpy()[good].sum()), duration_s),
    }


def _class_summary(
    one: SloClass,
    judged: pd.DataFrame,
    itl_edges_s: NDArray[np.float64],
    itl_counts: NDArray[np.int64],
    duration_s: float,
) -> dict[str, Any]:
    metrics = [metric for metric in PER_REQUEST if not judged[metric].isna().any()] if len(judged) else []
    attained = {metric: share_interval(judged[metric].to_numpy() == 1) for metric in metrics}
    itl_p99_s = histogram_distribution(itl_edges_s, itl_counts)["p99"]
    met = [share.share is not None and share.share >= one.attainment for share in attained.values()]
    if one.itl_p99_s is not None and itl_p99_s is not None:
        met.append(itl_p99_s <= one.itl_p99_s)
    return {
        "slo": one.model_dump(mode="json", exclude_none=True),
        **_goodput(judged, duration_s),
        "attained": {metric: share._asdict() for metric, share in attained.items()},
        "itl_p99_s": itl_p99_s,
        "holds": all(met) if len(judged) else None,
    }


def by_client(slo: Sequence[SloClass], judged: pd.DataFrame) -> pd.DataFrame:
    """A row per client and class (docs/results.md)."""
    return _shares(slo, judged, judged["client"])


def over_time(slo: Sequence[SloClass], judged: pd.DataFrame, window_s: float) -> pd.DataFrame:
    """A row per class and window of ``window_s`` seconds in which requests of it arrive (docs/results.md)."""
    start_s = (np.floor(judged["arrival_s"] / window_s) * window_s).rename("start_s")
    table = _shares(slo, judged, start_s)
    table["good_requests_per_s"] = table["good_requests"] / window_s
    table["good_output_tokens_per_s"] = table["good_output_tokens"] / window_s
    return table


def _shares(slo: Sequence[SloClass], judged: pd.DataFrame, by: "pd.Series[Any]") -> pd.DataFrame:
    """What the requests of each value of ``by`` and each class attained; NaN where the class has no such target."""
    tokens = judged["output_tokens"].where(judged["good"], 0).rename("good_output_tokens")
    groups = pd.concat([judged.drop(columns="client"), tokens], axis=1).groupby([by, "slo_class"])
    table = groups.agg(
        requests=("good", "size"),
        good_requests=("good", "sum"),
        good_output_tokens=("good_output_tokens", "sum"),
        good_share=("good", "mean"),
        **{f"{metric}_attained": (metric, "mean") for metric in PER_REQUEST},
    ).reset_index()
    kind = pd.CategoricalDtype(labels(slo))
    table["slo_class"] = pd.Categorical.from_codes(table["slo_class"], dtype=kind)
    return table
