"""Lesson 2, static and continuous batches: `python -m docs.tutorial.lesson_2_batching`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from docs.tutorial.page import publish
from sim import Result, make_scenario, simulate
from workloads import Workload

REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS = 2000, 500, 250
RATES_PER_S = (0.5, 1, 2, 3, 4)
BATCHING = ("static", "orca", "vllm")
Runs = dict[tuple[float, str], Result]  # by rate and batching


def serve(rate_per_s: float, batching: str) -> Result:
    random = np.random.default_rng(0)
    requests = Workload.build(
        arrival_s=np.cumsum(random.exponential(1 / rate_per_s, REQUESTS)),
        input_tokens=np.full(REQUESTS, INPUT_TOKENS),
        output_tokens=random.geometric(1 / OUTPUT_TOKENS, REQUESTS),
    )
    scenario = make_scenario(
        {
            "workload": {"builtin": "api"},  # `requests` take its place
            "gpu": "H20",
            "model": "qwen2.5-32b",
            "engine": {"batching": batching},
        }
    )
    return simulate(scenario, requests)


def experiment() -> Runs:
    return {(rate_per_s, batching): serve(rate_per_s, batching) for rate_per_s in RATES_PER_S for batching in BATCHING}


def table(runs: Runs) -> pd.DataFrame:
    rows = [
        {
            "requests/s": float(rate_per_s),
            "batching": batching,
            "output tokens/s": run.summary["output_tokens_per_s"],
            "TTFT mean, s": run.summary["ttft_s"]["mean"],
            "TPOT mean, ms": 1e3 * run.summary["tpot_s"]["mean"],
            "preemptions": run.summary["preemptions"],
        }
        for (rate_per_s, batching), run in runs.items()
    ]
    return pd.DataFrame(rows).astype({"preemptions": object})


def picture(runs: Runs) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    throughput, ttft = figure.subplots(1, 2)
    for batching, style in zip(BATCHING, ("o-", "s-", "^--"), strict=True):
        summaries = [runs[rate_per_s, batching].summary for rate_per_s in RATES_PER_S]
        throughput.plot(RATES_PER_S, [one["output_tokens_per_s"] for one in summaries], style, label=batching)
        ttft.plot(RATES_PER_S, [one["ttft_s"]["mean"] for one in summaries], style, label=batching)
    throughput.set(xlabel="requests/s", ylabel="output tokens/s", ylim=(0, None))
    ttft.set(xlabel="requests/s", ylabel="mean TTFT, s", yscale="log")
    ttft.legend(frameon=False)
    return figure


if __name__ == "__main__":
    runs = experiment()
    publish(__file__, table(runs), picture(runs))
