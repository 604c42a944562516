"""Runs of the study: a model, a workload at a rate, a router and a seed each, on several processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sim.routing import parse_router
from sim.scenario import Scenario, make_scenario
from sim.simulation import simulate
from workloads import Workload

from ..parallel import in_parallel
from . import sources

INSTANCES = 16
MODELS = ("qwen2.5-7b", "qwen3-30b-a3b")
CROWD_SHARE = 0.9  # of the crowd: the rest may be the last turns of a few long sessions

# Under the name of tables and figures; what stands for a router in the command line.
ROUTERS = {
    "round-robin": "round-robin",
    "vllm": "vllm",
    "linear 0.55": "linear:lambda=0.55",
    "linear 0.7": "linear:lambda=0.7",
    "linear 0.85": "linear:lambda=0.85",
    "filter": "filter:range=8",
    "dynamo": "dynamo",
    "preble": "preble",
    "polyserve": "polyserve",
    "simulation": "simulation",
    "lmetric": "lmetric",
}
# LMetric's product with a factor replaced or left out. As a prompt is as long everywhere, `hit ratio` chooses like
# new_tokens * (batch + 1): what it lacks is the queue.
ABLATIONS = {
    "hit ratio": "score: (1 - hit_tokens / input_tokens) * (batch + 1)",
    "KV tokens": "score: (queued_prefill + new_tokens) * (decode_kv + input_tokens)",
    "prefill alone": "score: queued_prefill + new_tokens",
    "batch alone": "score: batch",
}
KINDS = ROUTERS | ABLATIONS
SUMMARIES = {"mean": np.mean, "p50": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class Task:
    """One run. load: share of the maximum rate ``most_per_s``."""

    model: str
    workload: str
    load: float
    most_per_s: float
    router: str
    seed: int
    size: float


def most_per_s(model: str, workload: str, size: float) -> float:
    """Maximum rate: requests a second of 16 instances under least-requests when all sessions come at once,
    until `CROWD_SHARE` of the requests are finished."""
    finish_s = np.sort(simulate(scenario(model, "least-requests", 0), sources.crowd(workload, size)).requests.finish_s)
    count = int(CROWD_SHARE * len(finish_s))
    return float(count / finish_s[count - 1])


def run(task: Task) -> dict[str, Any]:
    """The task's fields and what is measured: latencies in seconds, `SUMMARIES` of each, and shares of one."""
    requests = sources.at_rate(task.workload, task.load * task.most_per_s, task.seed, task.size)
    result = simulate(scenario(task.model, KINDS[task.router], task.seed), requests)
    measured = {
        f"{latency}_{name}_s": _summary(result.requests[f"{latency}_s"], how)
        for latency in ("ttft", "tpot")
        for name, how in SUMMARIES.items()
    }
    served = {"requests": len(requests), "steady_per_s": sources.steady_per_s(requests)}
    return vars(task) | served | measured | {"hit_ratio": result.summary["hit_ratio"]}


def run_all(tasks: Sequence[Task]) -> pd.DataFrame:
    """A row per task, in their order."""
    return pd.DataFrame(in_parallel(run, [(task,) for task in tasks]))


def scenario(model: str, router: str, seed: int, **further: Any) -> Scenario:
    """16 H20 under a router as the command line names it. further: other fields of the scenario."""
    name, options = parse_router(router)
    source = {"builtin": "chatbot"}  # a scenario names one; the requests are given beside it
    fields = further | {"workload": source, "gpu": "H20", "model": model, "instances": INSTANCES, "router": name}
    return make_scenario(fields | {"router_options": options, "series_interval_s": None, "seed": seed})


def serve(model: str, router: str, requests: Workload) -> pd.DataFrame:
    """The request table (docs/results.md) of one run with seed 0."""
    return simulate(scenario(model, router, 0), requests).requests


def _summary(values: pd.Series, how: Any) -> float:
    known = values.dropna()
    return float(known.mean() if how is np.mean else np.percentile(known, how))
