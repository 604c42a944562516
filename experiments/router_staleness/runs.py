"""Runs of the study: a workload at a rate, a router, what it sees and a seed each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sim.cells import row
from sim.compare.metrics import METRICS
from sim.simulation import simulate

from ..lmetric import sources
from ..lmetric.runs import INSTANCES, scenario
from ..lmetric.runs import ROUTERS as PUBLISHED
from .randomised import AmongThree

MODEL = "qwen2.5-7b"
CONTROLS = ("round-robin", "random")  # they look at nothing
AMONG_THREE = "lmetric of three"  # a router in Python, see `randomised`

# Under the name of tables and figures; what stands for a router in the command line. The temperature is illustrative.
ROUTERS = {
    "round-robin": PUBLISHED["round-robin"],
    "random": "random",
    "least-requests": "least-requests",
    "power-of-two": "power-of-two",
    "session-affinity": "session-affinity",
    **PUBLISHED,
    "dynamo, T 0.05": "dynamo:temperature=0.05",
    AMONG_THREE: "lmetric",
}


def _late(period_s: float) -> dict[str, float]:
    return {f"{group}_every_s": period_s for group in ("requests", "tokens", "kv", "hits")}


NOW, INDEX = "now", "own index"
# What the routers see: the scenario's `signals`.
VIEWS: dict[str, dict[str, Any]] = {
    NOW: {},
    "50 ms": _late(0.05),
    "500 ms": _late(0.5),
    INDEX: {"prefix_index": "router"},
}
LATE = tuple(view for view in VIEWS if view not in (NOW, INDEX))
BURST_S = 0.5  # the longest period: what is sent within it is sent without knowing of each other


@dataclass(frozen=True)
class Task:
    """One run. load: share of the maximum rate ``most_per_s``. size: see `sources.at_rate`."""

    workload: str
    load: float
    most_per_s: float
    seed: int
    router: str
    view: str
    size: float


def run(task: Task) -> dict[str, Any]:
    """The task's fields, the metrics of `sim.compare`, and `busiest_share`."""
    requests = sources.at_rate(task.workload, task.load * task.most_per_s, task.seed, task.size)
    run_of = scenario(MODEL, ROUTERS[task.router], task.seed, signals=VIEWS[task.view])
    result = simulate(run_of, requests, AmongThree(task.seed) if task.router == AMONG_THREE else None)
    numbers = row(result.summary)
    measured = {metric.name: metric.of(numbers) for metric in METRICS}
    return vars(task) | {"requests": len(requests)} | measured | {"busiest": busiest_share(result.requests)}


def busiest_share(requests: pd.DataFrame) -> float:
    """The share of the requests that arrive within `BURST_S` that one instance gets, mean over the requests."""
    burst = (requests.arrival_s // BURST_S).astype(np.int64)
    counts = np.zeros((int(burst.max()) + 1, INSTANCES), np.int64)
    np.add.at(counts, (burst.to_numpy(), requests.instance.to_numpy()), 1)
    return float(counts.max(axis=1).sum() / len(requests))
