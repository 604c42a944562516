"""Lesson 5, where to send a request: `python -m docs.tutorial.lesson_5_routing`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from docs.tutorial.page import publish
from sim import Result, make_scenario, simulate
from workloads import Workload, generate

INSTANCES = 8
ROUTERS = ("round-robin", "vllm", "prefixaware", "cache-aware", "lmetric")
HOT_SHARE, HOT_PREFIX_TOKENS, HOT_RATE_PER_S, HOT_DURATION_S = 0.9, 16_000, 16.0, 300.0
FURTHER_TOKENS, OTHER_TOKENS, ANSWER_TOKENS = 30, 300, 400
Runs = dict[tuple[str, str], Result]  # by traffic and router


def chats() -> Workload:
    return generate("chatbot", 0, {"rate_per_s": 32.0, "duration_s": 900.0})


def hot_prefix() -> Workload:
    """`HOT_SHARE` of the requests begin with the same long document; the others are short."""
    random = np.random.default_rng(0)
    count = int(HOT_RATE_PER_S * HOT_DURATION_S)
    hot = random.random(count) < HOT_SHARE
    hot[0] = True  # the one whose prefix the others share
    later = hot & (np.arange(count) > 0)
    return Workload.build(
        arrival_s=np.cumsum(random.exponential(1 / HOT_RATE_PER_S, count)),
        input_tokens=np.where(hot, HOT_PREFIX_TOKENS + FURTHER_TOKENS, OTHER_TOKENS),
        output_tokens=np.full(count, ANSWER_TOKENS),
        prefix_request=np.where(later, 0, -1),
        prefix_tokens=np.where(later, HOT_PREFIX_TOKENS, 0),
    )


def serve(requests: Workload, router: str) -> Result:
    scenario = make_scenario(
        {
            "workload": {"builtin": "chatbot"},  # `requests` take its place
            "gpu": "H20",
            "model": "qwen2.5-7b",
            "instances": INSTANCES,
            "router": router,
        }
    )
    return simulate(scenario, requests)


def experiment() -> Runs:
    traffic = {"chats": chats(), "hot prefix": hot_prefix()}
    return {(name, router): serve(requests, router) for name, requests in traffic.items() for router in ROUTERS}


def shares(run: Result) -> np.ndarray:
    """Of the requests, by instance, the busiest first."""
    served = np.array([one["requests"] for one in run.summary["instances"]])
    return np.sort(served)[::-1] / served.sum()


def table(runs: Runs) -> pd.DataFrame:
    rows = [
        {
            "traffic": traffic,
            "router": router,
            "hit ratio, %": 100 * run.summary["hit_ratio"],
            "TTFT mean, ms": 1e3 * run.summary["ttft_s"]["mean"],
            "TTFT p99, ms": 1e3 * run.summary["ttft_s"]["p99"],
            "TPOT mean, ms": 1e3 * run.summary["tpot_s"]["mean"],
            "on the busiest, %": 100 * float(shares(run)[0]),
        }
        for (traffic, router), run in runs.items()
    ]
    return pd.DataFrame(rows)


def picture(runs: Runs) -> Figure:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, router in enumerate(ROUTERS):
        summary = runs["chats", router].summary
        left.plot(100 * summary["hit_ratio"], 1e3 * summary["ttft_s"]["mean"], "o", color=f"C{colour}", label=router)
        hot = 100 * shares(runs["hot prefix", router])
        right.plot(range(1, INSTANCES + 1), hot, "o-", color=f"C{colour}", label=router)
    left.set(title="chats", xlabel="hit ratio, %", ylabel="mean TTFT, ms", xlim=(0, 70), ylim=(0, None))
    left.legend(frameon=False, fontsize="small")
    right.set(title="hot prefix", xlabel="instance, the busiest first", ylabel="share of the requests, %")
    return figure


if __name__ == "__main__":
    runs = experiment()
    publish(__file__, table(runs), picture(runs))
