"""The eviction policies inside a loaded engine: hit ratio, queue time and TTFT by rate and number of KV blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sim.scenario import make_scenario
from sim.simulation import simulate

from ..lmetric.sources import at_rate
from ..lmetric.tables import against, with_interval
from ..markdown import markdown
from ..parallel import in_parallel
from .curves import AWARE, BASE

# The paper's A800 is an A100 with a slower NVLink, which one GPU does not use.
GPU, MODEL = "A100", "qwen2.5-7b"
CONTEXT_TOKENS = (
    32_768  # the model's: longer requests are left out, and fewer blocks than 2,049 cannot hold the longest
)
POLICIES = (BASE, "fifo", "lfu", "gdsf", AWARE)
GPU_BLOCKS = 0  # stands for as many as the GPU's memory holds
CAPACITIES = (8192, 16384, 32768, GPU_BLOCKS)
SAMPLE_S = 10.0  # of the blocks in use


@dataclass(frozen=True)
class Traffic:
    """A recipe at rates in requests/s. size: of the durations in `lmetric.sources`."""

    recipe: str
    rates_per_s: tuple[float, ...]
    size: float


CONSUMER = Traffic("chatbot", (4.0, 6.0, 7.0, 8.0), 2.0)  # an hour; 6/s is the paper's
BUSINESS = Traffic("api", (8.0, 11.0, 14.0), 1.0)  # ten minutes


@dataclass(frozen=True)
class Task:
    """One run on one instance. idle: all at a hundredth of the rate, so that nobody waits for another."""

    recipe: str
    rate_per_s: float
    seed: int
    size: float
    blocks: int
    eviction: str
    idle: bool = False


def run(task: Task) -> dict[str, Any]:
    """The task's fields; mean latencies in seconds, and as shares of one hit ratio and blocks in use."""
    requests = at_rate(task.recipe, task.rate_per_s, task.seed, task.size)
    tokens = requests.input_tokens.astype(np.int64) + requests.output_tokens
    requests = requests.take(np.flatnonzero(tokens <= CONTEXT_TOKENS))
    engine = {"eviction": task.eviction, "num_blocks": task.blocks or None}
    fields = {"workload": {"builtin": task.recipe}, "gpu": GPU, "model": MODEL, "engine": engine}
    result = simulate(
        make_scenario(fields | {"router": "round-robin", "series_interval_s": SAMPLE_S, "seed": task.seed}),
        requests.scale_rate(0.01) if task.idle else requests,
    )
    served = result.requests
    return vars(task) | {
        "hit_ratio": result.summary["hit_ratio"],
        "queue_mean_s": served.queue_s.mean(),
        "ttft_mean_s": served.ttft_s.mean(),
        "in_use": result.series.kv_used_fraction.mean(),
        "held_blocks": result.summary["kv_blocks"],
    }


def runs(traffic: Traffic, seeds: Sequence[int], capacities: Sequence[int], size: float) -> pd.DataFrame:
    """A row per rate, capacity, policy and seed; the last ones are idle, of one seed."""
    tasks = [
        Task(traffic.recipe, rate_per_s, seed, traffic.size * size, blocks, eviction)
        for rate_per_s in traffic.rates_per_s
        for seed in seeds
        for blocks in capacities
        for eviction in POLICIES
    ]
    first = (traffic.recipe, traffic.rates_per_s[0], seeds[0], traffic.size * size)
    idle = [Task(*first, capacities[-1], BASE, idle=True)]
    return pd.DataFrame(in_parallel(run, [(task,) for task in (*tasks, *idle)]))


def report(table: pd.DataFrame, policy: str) -> dict[str, str]:
    """Tables by title: LRU, the changes under the others, and those under one with their intervals."""
    busy = table[~table.idle]
    alone = table[table.idle].iloc[0]
    share = alone.queue_mean_s / alone.ttft_mean_s
    told = (
        f"Idle: queue {1e3 * alone.queue_mean_s:.1f} ms of a TTFT of {1e3 * alone.ttft_mean_s:.1f} ms ({share:.0%}).\n"
    )
    recipe = str(alone.recipe)
    return {
        f"Loaded: {recipe} under {BASE}": f"{_base(busy)}\n{told}",
        f"Loaded: {recipe}, changes to {BASE}": _changes(busy),
        f"Loaded: {recipe}, {policy} with 95 % intervals": _intervals(busy, policy),
    }


def _base(busy: pd.DataFrame) -> str:
    rows = []
    for (rate_per_s, _), group in _by_setting(busy):
        of = group[group.eviction == BASE].mean(numeric_only=True)
        ratio = of.queue_mean_s / of.ttft_mean_s
        seconds = [f"{of.queue_mean_s:.3g}", f"{of.ttft_mean_s:.3g}", f"{ratio:.0%}"]
        rows.append([f"{rate_per_s:g}", f"{of.held_blocks:,.0f}", f"{of.hit_ratio:.3f}", *seconds, f"{of.in_use:.0%}"])
    head = ["requests/s", "KV blocks", "hit ratio", "queue, s", "TTFT, s", "queue / TTFT", "blocks in use"]
    return markdown(head, rows)


def _changes(busy: pd.DataFrame) -> str:
    """Points of hit ratio / queue time / TTFT, in brackets where the 95 % interval, paired by seed, holds zero."""
    others = POLICIES[1:]
    rows = []
    for setting, group in _by_setting(busy):
        hits = 100 * group.groupby("eviction").hit_ratio.mean()
        cells = [
            " / ".join(
                [
                    f"{hits[name] - hits[BASE]:+.1f}",
                    *(against(group, name, BASE, metric, by="eviction") for metric in ("queue_mean_s", "ttft_mean_s")),
                ]
            )
            for name in others
        ]
        rows.append([*_setting(setting, group), *cells])
    return markdown(["requests/s", "KV blocks", *others], rows)


def _intervals(busy: pd.DataFrame, policy: str) -> str:
    rows = [
        [
            *_setting(setting, group),
            *(with_interval(group, policy, BASE, metric, by="eviction") for metric in ("queue_mean_s", "ttft_mean_s")),
        ]
        for setting, group in _by_setting(busy)
    ]
    return markdown(["requests/s", "KV blocks", "queue", "TTFT"], rows)


def _by_setting(busy: pd.DataFrame) -> Any:
    return busy.groupby(["rate_per_s", "blocks"], sort=False)


def _setting(setting: tuple[float, int], group: pd.DataFrame) -> list[str]:
    return [f"{setting[0]:g}", f"{group.held_blocks.iloc[0]:,}"]
