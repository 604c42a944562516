"""Lesson 1, one server and its queue: `python -m docs.tutorial.lesson_1_queueing`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from docs.tutorial.page import publish
from sim import make_scenario, simulate
from workloads import Workload

REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS = 100_000, 100, 200
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)

ONE_SEAT = make_scenario(
    {
        "workload": {"builtin": "api"},  # `simulate` is given requests, which take its place
        "gpu": "H20",
        "model": "qwen2.5-7b",
        "engine": {"max_num_seqs": 1, "async_scheduling": False, "prefix_caching": False},
        "series_interval_s": None,
    }
)


def serve(output_tokens: np.ndarray, rate_per_s: float) -> pd.DataFrame:
    """Requests with so many output tokens come at random, and are served one after the other."""
    gaps_s = np.random.default_rng(1).exponential(1 / rate_per_s, len(output_tokens))
    inputs = np.full(len(output_tokens), INPUT_TOKENS)
    requests = Workload.build(arrival_s=np.cumsum(gaps_s), input_tokens=inputs, output_tokens=output_tokens)
    return simulate(ONE_SEAT, requests).requests


def theory_s(service_s: np.ndarray, rate_per_s: float) -> float:
    """Mean wait in front of one server, by Pollaczek and Khinchine."""
    return rate_per_s * float(np.mean(service_s**2)) / (2 * (1 - rate_per_s * float(service_s.mean())))


def experiment() -> pd.DataFrame:
    """A row per kind of answers and load: the simulated mean wait_s, and theory_s."""
    answers = {
        "random (M/M/1)": np.random.default_rng(0).geometric(1 / OUTPUT_TOKENS, REQUESTS),
        "equal (M/D/1)": np.full(REQUESTS, OUTPUT_TOKENS),
    }
    rows = []
    for name, output_tokens in answers.items():
        alone = serve(output_tokens, 0.1)
        service_s = (alone.finish_s - alone.first_scheduled_s).to_numpy()  # whoever else is there
        for load in LOADS:
            rate_per_s = load / float(service_s.mean())
            wait_s = float(serve(output_tokens, rate_per_s).queue_s.mean())
            rows.append((name, load, float(service_s.mean()), wait_s, theory_s(service_s, rate_per_s)))
    return pd.DataFrame(rows, columns=["answers", "load", "service_s", "wait_s", "theory_s"])


def table(waits: pd.DataFrame) -> pd.DataFrame:
    shown = waits.assign(error=[f"{100 * (one.wait_s / one.theory_s - 1):+.1f} %" for one in waits.itertuples()])
    shown.columns = pd.Index(["answers", "load", "mean service, s", "mean wait, s", "theory, s", "difference"])
    return shown


def picture(waits: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axes = figure.subplots()
    load = np.linspace(0, 0.93, 200)
    service_s = float(waits.service_s.mean())
    for colour, ((name, of_kind), share) in enumerate(zip(waits.groupby("answers", sort=False), (1, 0.5), strict=True)):
        axes.plot(load, share * service_s * load / (1 - load), color=f"C{colour}", label=f"{name}, theory")
        axes.plot(of_kind.load, of_kind.wait_s, "o", color=f"C{colour}", label=f"{name}, simulated")
    axes.set(xlabel="load", ylabel="mean wait, s", xlim=(0, 0.95), ylim=(0, None))
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    waits = experiment()
    publish(__file__, table(waits), picture(waits))
