"""Lesson 6, how many instances hold an objective: `python -m docs.tutorial.lesson_6_provisioning`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from docs.tutorial.page import publish
from sim import Result, load_workload, make_scenario, simulate
from sim.scenario import Scenario
from workloads import Workload
from workloads.naive import naive

SLO_S = 1.0  # p99 of the TTFT
INSTANCES = range(8, 18)
BIN_S = 10.0  # of the picture
Runs = dict[tuple[str, int], Result]  # by workload and instances


def scenario_with(instances: int) -> Scenario:
    return make_scenario(
        {
            "workload": {
                "pool": "m-large",
                "options": {"start_s": 64_800.0, "duration_s": 1800.0, "rate_per_s": 40.0},  # 18:00, half an hour
            },
            "gpu": "H20",
            "model": "qwen2.5-14b",
            "instances": instances,
        }
    )


def workloads() -> dict[str, Workload]:
    """The pool's clients, and one Poisson process of the same rate with the same lengths."""
    composed = load_workload(scenario_with(1))
    return {"composed": composed, "naive": naive(composed, "poisson", seed=0)}


def experiment() -> Runs:
    return {
        (name, instances): simulate(scenario_with(instances), requests)
        for name, requests in workloads().items()
        for instances in INSTANCES
    }


def p99_s(runs: Runs, workload: str) -> list[float]:
    return [runs[workload, instances].summary["ttft_s"]["p99"] for instances in INSTANCES]


def enough(runs: Runs, workload: str) -> int:
    """The fewest instances that hold the objective, as all larger numbers do."""
    holds = [p99 <= SLO_S for p99 in p99_s(runs, workload)]
    return INSTANCES[max(i for i, held in enumerate([False, *holds]) if not held)]


def table(runs: Runs) -> pd.DataFrame:
    columns: dict[str, object] = {"instances": list(INSTANCES)}
    for name in ("naive", "composed"):
        columns[f"{name}: TTFT p99, s"] = p99_s(runs, name)
        columns[f"{name}: holds {SLO_S:g} s"] = ["yes" if n >= enough(runs, name) else "no" for n in INSTANCES]
    return pd.DataFrame(columns).astype({"instances": object})


def picture(runs: Runs) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    traffic, ttft = figure.subplots(1, 2)
    for name in ("composed", "naive"):
        arrival_s = runs[name, INSTANCES[0]].requests.arrival_s
        counts = np.bincount((arrival_s // BIN_S).astype(int))[:-1]  # the last bin is cut
        traffic.plot(BIN_S * np.arange(len(counts)), counts / BIN_S, linewidth=0.8, label=name)
        ttft.plot(INSTANCES, p99_s(runs, name), "o-", label=name)
    traffic.set(xlabel="time, s", ylabel="requests/s", ylim=(0, None))
    ttft.axhline(SLO_S, color="grey", linestyle="--", linewidth=0.8)
    ttft.set(xlabel="instances", ylabel="p99 TTFT, s", ylim=(0, None))
    ttft.legend(frameon=False)
    return figure


if __name__ == "__main__":
    runs = experiment()
    publish(__file__, table(runs), picture(runs))
