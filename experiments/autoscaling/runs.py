"""The load, the fleets, and what a run of each gives."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sim import Result, make_scenario, simulate
from sim.fleet_history import fleet_summary
from sim.operations import PS_PER_S
from workloads import Workload
from workloads.builtin import BUILTINS
from workloads.compose import generate

# The goal: this share of the requests has its first token within TTFT_S and then a token every TPOT_S on average.
TTFT_S, TPOT_S, GOAL = 4.0, 0.1, 0.99
DAY_S = 8 * 3600.0  # a day in eight hours: three times as steep as a real one, which is harder on autoscalers
PEAK_PER_S = 15.0  # conversations that begin, at noon; a fifth of it at night (an assumption)
SEED = 0
DEPLOYED: dict[str, Any] = {
    "workload": {"builtin": "chatbot"},  # taken as drawn by `day`
    "gpu": "H800",
    "model": "qwen2.5-72b",
    "tp": 4,
    "router": "lmetric",
    "engine": {"max_num_batched_tokens": 2048},
    "seed": SEED,
}
LIMITS: dict[str, Any] = {
    "min_instances": 2,
    "max_instances": 32,
    "interval_s": 15.0,
    "cold_start_s": 90.0,
    "ttft_s": TTFT_S,
    "tpot_s": TPOT_S,
    "attainment": GOAL,
}
# Targets of the policies that go by load, estimated from earlier runs of this load; `slo` needs none.
POLICIES: dict[str, dict[str, Any]] = {
    "queue": {"target_requests": 32.0},
    "utilisation": {"target_busy_fraction": 0.7},
    "slo": {},
}


class Outcome(NamedTuple):
    """A run: who served, what it cost, how well, and how that went over time."""

    name: str
    gpu_hours: float
    attainment: float
    worst_attainment: float  # of the bins of `course`
    most_instances: int
    course: pd.DataFrame  # hour, requests_per_s, instances, attainment; a row per bin of arrival time


def rate_per_s(at_s: float, day_s: float = DAY_S, peak_per_s: float = PEAK_PER_S) -> float:
    """Conversations that begin per second: a cosine from a fifth of the peak at night to the peak at noon."""
    return peak_per_s * (0.6 - 0.4 * math.cos(2 * math.pi * at_s / day_s))


def day(day_s: float = DAY_S, peak_per_s: float = PEAK_PER_S) -> Workload:
    """Conversations of the recipe `chatbot` whose rate has the shape of a day."""
    pool = BUILTINS["chatbot"].pool(rate_per_s=1.0, clients=100, between_s=100.0)
    return generate(pool, seed=SEED, duration_s=day_s, rate_per_s=lambda at_s: rate_per_s(at_s, day_s, peak_per_s))


def static(workload: Workload, instances: int, day_s: float = DAY_S) -> Outcome:
    """A fleet of so many instances all day."""
    return _outcome(f"static, {instances}", _run(workload, {"instances": instances}), day_s)


def smallest_static(workload: Workload, day_s: float = DAY_S, most: int = 16) -> Outcome:
    """The smallest static fleet that reaches the goal over the whole day, by bisection."""
    low, best = 0, static(workload, most, day_s)
    if best.attainment < GOAL:
        raise ValueError(f"{most} instances attain {best.attainment:.2%}: the targets are out of reach")
    high = most
    while high - low > 1:
        tried = static(workload, (low + high) // 2, day_s)
        if tried.attainment >= GOAL:
            high, best = (low + high) // 2, tried
        else:
            low = (low + high) // 2
    return best


def scaled(workload: Workload, policy: str, instances: int, day_s: float = DAY_S) -> Outcome:
    """A fleet that starts with so many instances and is scaled by a policy."""
    autoscaler = LIMITS | {"policy": policy, "options": POLICIES[policy]}
    return _outcome(policy, _run(workload, {"instances": instances, "autoscaler": autoscaler}), day_s)


def _run(workload: Workload, fleet: dict[str, Any]) -> Result:
    return simulate(make_scenario(DEPLOYED | {"series_interval_s": None} | fleet), workload)


def _outcome(name: str, result: Result, day_s: float, bins: int = 96) -> Outcome:
    """The day alone: conversations go on for hours after it, on a fleet that nobody would keep for them."""
    cluster = result.cluster
    fleet = fleet_summary(cluster.log, round(day_s * PS_PER_S), cluster.gpus)
    table = result.requests[result.requests["arrival_s"] < day_s]
    good = ((table["ttft_s"] <= TTFT_S) & ~(table["tpot_s"] > TPOT_S)).to_numpy()  # a single token has no TPOT
    edges_s = np.linspace(0.0, day_s, bins + 1)
    bin_of = np.clip(np.searchsorted(edges_s, table["arrival_s"], side="right") - 1, 0, bins - 1)
    arrived = np.bincount(bin_of, minlength=bins)
    attained = np.bincount(bin_of, weights=good, minlength=bins) / np.maximum(arrived, 1)
    steps = pd.DataFrame(fleet["instances_over_time"])
    at = np.searchsorted(steps["time_s"], edges_s[:-1], side="right") - 1
    course = pd.DataFrame(
        {
            "hour": edges_s[:-1] / 3600,
            "requests_per_s": arrived / np.diff(edges_s),
            "instances": steps["instances"].to_numpy()[at],
            "attainment": np.where(arrived > 0, attained, np.nan),
        }
    )
    worst = float(course["attainment"].min())
    return Outcome(name, fleet["gpu_hours"], float(good.mean()), worst, int(steps["instances"].max()), course)
