"""Lesson 4, what a prefix cache is worth by its size: `python -m docs.tutorial.lesson_4_prefix_caching`."""

import pandas as pd
from matplotlib.figure import Figure

from docs.tutorial.page import publish
from sim import Result, make_scenario, simulate

CACHES: dict[str, dict[str, object]] = {
    "off": {"prefix_caching": False},
    **{f"{blocks:,}": {"num_blocks": blocks} for blocks in (4000, 8000, 16_000, 32_000, 64_000, 128_000)},
    "what the H20 holds": {},
}
Runs = dict[str, Result]  # by cache


def serve(cache: dict[str, object]) -> Result:
    scenario = make_scenario(
        {
            "workload": {"builtin": "chatbot", "options": {"rate_per_s": 4.0, "duration_s": 1800.0}},
            "gpu": "H20",
            "model": "qwen2.5-7b",
            "engine": cache,
        }
    )
    return simulate(scenario)


def experiment() -> Runs:
    return {name: serve(cache) for name, cache in CACHES.items()}


def table(runs: Runs) -> pd.DataFrame:
    rows = [
        {
            "cache, blocks": name,
            "tokens": run.summary["kv_blocks"] * run.scenario.engine.block_size,
            "hit ratio, %": 100 * run.summary["hit_ratio"],
            "TTFT mean, ms": 1e3 * run.summary["ttft_s"]["mean"],
            "TTFT p50, ms": 1e3 * run.summary["ttft_s"]["p50"],
            "TTFT p99, ms": 1e3 * run.summary["ttft_s"]["p99"],
            "preemptions": run.summary["preemptions"],
        }
        for name, run in runs.items()
    ]
    return pd.DataFrame(rows).astype({"tokens": object, "preemptions": object})


def picture(runs: Runs) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    hits, ttft = figure.subplots(1, 2)
    sized = [run.summary for name, run in runs.items() if name[0].isdigit()]
    blocks = [one["kv_blocks"] for one in sized]
    hits.plot(blocks, [100 * one["hit_ratio"] for one in sized], "o-")
    hits.set(xlabel="cache, blocks of 16 tokens", ylabel="hit ratio, %", xscale="log", ylim=(0, 70))
    ttft.plot(blocks, [1e3 * one["ttft_s"]["p50"] for one in sized], "o-", label="with a cache")
    ttft.axhline(1e3 * runs["off"].summary["ttft_s"]["p50"], color="grey", linestyle="--", label="without")
    ttft.set(xlabel="cache, blocks of 16 tokens", ylabel="median TTFT, ms", xscale="log", ylim=(0, None))
    ttft.legend(frameon=False)
    return figure


if __name__ == "__main__":
    runs = experiment()
    publish(__file__, table(runs), picture(runs))
