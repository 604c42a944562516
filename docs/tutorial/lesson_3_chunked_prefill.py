"""Lesson 3, long prompts among short ones: `python -m docs.tutorial.lesson_3_chunked_prefill`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from docs.tutorial.page import publish
from sim import Result, make_scenario, simulate
from workloads import Workload

DURATION_S, CHATS_PER_S, LONG_EVERY_S = 600.0, 4.0, 20.0
CHAT_INPUT_TOKENS, CHAT_OUTPUT_TOKENS = 200, 300
LONG_INPUT_TOKENS, LONG_OUTPUT_TOKENS = 30_000, 100
BUDGETS_TOKENS = (256, 512, 2048, 8192, 32_768)
Runs = dict[int, Result]  # by token budget


def chats_and_documents() -> Workload:
    """Short chats at random times, and a long document every `LONG_EVERY_S`."""
    chats_s = np.cumsum(np.random.default_rng(0).exponential(1 / CHATS_PER_S, int(CHATS_PER_S * DURATION_S)))
    documents_s = np.arange(LONG_EVERY_S / 2, DURATION_S, LONG_EVERY_S)
    arrival_s = np.concatenate([chats_s, documents_s])
    is_long = np.arange(len(arrival_s)) >= len(chats_s)
    order = np.argsort(arrival_s)
    return Workload.build(
        arrival_s=arrival_s[order],
        input_tokens=np.where(is_long, LONG_INPUT_TOKENS, CHAT_INPUT_TOKENS)[order],
        output_tokens=np.where(is_long, LONG_OUTPUT_TOKENS, CHAT_OUTPUT_TOKENS)[order],
    )


def serve(budget_tokens: int) -> Result:
    scenario = make_scenario(
        {
            "workload": {"builtin": "api"},  # `chats_and_documents` take its place
            "gpu": "H20",
            "model": "qwen2.5-7b",
            "engine": {"max_num_seqs": 256, "max_num_batched_tokens": budget_tokens},
        }
    )
    return simulate(scenario, chats_and_documents())


def experiment() -> Runs:
    return {budget_tokens: serve(budget_tokens) for budget_tokens in BUDGETS_TOKENS}


def table(runs: Runs) -> pd.DataFrame:
    rows = []
    for budget_tokens, run in runs.items():
        is_long = run.requests.input_tokens == LONG_INPUT_TOKENS
        rows.append(
            {
                "budget, tokens": budget_tokens,
                "ITL p50, ms": 1e3 * run.summary["itl_s"]["p50"],
                "longest ITL, ms": 1e3 * float(run.itl.high_s.max()),
                "TTFT of chats, p99, s": float(run.requests.ttft_s[~is_long].quantile(0.99)),
                "TTFT of documents, mean, s": float(run.requests.ttft_s[is_long].mean()),
            }
        )
    return pd.DataFrame(rows).astype({"budget, tokens": object})


def picture(runs: Runs) -> Figure:
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axes = figure.subplots()
    for budget_tokens, run in runs.items():
        longer = run.itl["count"][::-1].cumsum()[::-1] / run.itl["count"].sum()
        axes.step(1e3 * run.itl.low_s, longer, where="post", label=f"{budget_tokens:,}")
    axes.set(xlabel="time between two tokens, ms", ylabel="share that is longer", xscale="log", yscale="log")
    axes.legend(frameon=False, title="token budget", fontsize="small")
    return figure


if __name__ == "__main__":
    runs = experiment()
    publish(__file__, table(runs), picture(runs))
