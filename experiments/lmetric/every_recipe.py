"""LMetric, round-robin and vllm on every recipe that ships, and how often a request meets another one's prefill."""

from typing import Any

import numpy as np
import pandas as pd

from ..markdown import markdown
from . import sources
from .runs import serve
from .tables import with_interval

ROUTERS = ("round-robin", "vllm", "lmetric")
CONTESTED = (("lmetric", "round-robin"), ("lmetric", "vllm"), ("vllm", "round-robin"))
METRICS = {"ttft_mean_s": "TTFT", "tpot_mean_s": "TPOT"}


def met(model: str, recipe: str, router: str, rate_per_s: float, size: float) -> dict[str, Any]:
    """Of a run with seed 0: mean queue_s and `share_that_meets`."""
    requests = serve(model, router, sources.at_rate(recipe, rate_per_s, 0, size))
    shares = {"queue_s": requests.queue_s.mean(), "meets": share_that_meets(requests)}
    return {"recipe": recipe, "router": router} | shares


def share_that_meets(requests: pd.DataFrame) -> float:
    """The share of the requests that come to an instance where the first token of another one is yet to come."""
    meetings = 0
    for _, on in requests.groupby("instance"):
        arrival_s, first_token_s = np.sort(on.arrival_s), np.sort(on.first_token_s)
        meetings += int((np.arange(len(on)) > np.searchsorted(first_token_s, arrival_s, side="right")).sum())
    return meetings / len(requests)


def report(runs: pd.DataFrame, meetings: pd.DataFrame) -> dict[str, str]:
    """Tables by title."""
    of_model = {f"Every recipe: {model}": _table(group) for model, group in runs.groupby("model", sort=False)}
    return of_model | {"Prefills met": _meetings(meetings)}


def _table(runs: pd.DataFrame) -> str:
    """Mean TTFT in s / TPOT in ms by router, and `CONTESTED` changes with their 95 % intervals, in percent."""
    rows = []
    for recipe, group in runs.groupby("workload", sort=False):
        means = group.groupby("router", sort=False)[list(METRICS)].mean()
        told = [f"{mean.ttft_mean_s:.3g} / {1e3 * mean.tpot_mean_s:.3g}" for _, mean in means.iterrows()]
        changes = [with_interval(group, *pair, metric) for pair in CONTESTED for metric in METRICS]
        rows.append([str(recipe), *told, *changes])
    head = [f"{name} to {base}, {label}" for name, base in CONTESTED for label in METRICS.values()]
    return markdown(["recipe", *ROUTERS, *head], rows)


def _meetings(shares: pd.DataFrame) -> str:
    """Mean queue time in ms / requests that meet a prefill, a row per recipe."""
    rows = [
        [str(recipe), *(f"{1e3 * one.queue_s:.1f} / {one.meets:.1%}" for one in group.itertuples())]
        for recipe, group in shares.groupby("recipe", sort=False)
    ]
    return markdown(["recipe", *ROUTERS], rows)
