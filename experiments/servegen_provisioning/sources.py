"""What is planned with, and what the plans are tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from workloads import Workload
from workloads.clients import ClientPool
from workloads.compose import generate
from workloads.naive import naive
from workloads.pools import load_pool
from workloads.servegen import read_servegen

RAW = Path(__file__).parents[3] / "shared/data/servegen"
WINDOW_S = 600.0  # ServeGen's: rate, family and CV of a client change with it
HELD_OUT = 1000  # seeds of held-out traffic begin here

COMPOSED, NAIVE, BY_WINDOW = "composed", "naive", "naive by window"


@dataclass(frozen=True)
class Setting:
    """``scale`` times the traffic of a pool from ``start_s`` on, so that some 6 to 36 instances are needed.

    folder: of the pool in ServeGen's data.
    """

    pool: str
    folder: str
    when: str
    start_s: float
    scale: float

    @property
    def name(self) -> str:
        return f"{self.pool}, {self.when}"


SETTINGS = (
    Setting("m-large", "language/m-large", "from 8 h", 8 * 3600.0, 0.25),
    Setting("m-large", "language/m-large", "from 20 h", 20 * 3600.0, 0.25),
    Setting("m-small", "language/m-small", "from 8 h", 8 * 3600.0, 0.1),
)


def composed(setting: Setting, seed: int, duration_s: float) -> Workload:
    """Of the clients of the pool that ships."""
    return _generate(load_pool(setting.pool), setting, seed, duration_s)


def held_out(setting: Setting, seed: int, duration_s: float) -> Workload:
    """With other seeds, of the clients in ServeGen's own files; where they are absent, of the pool that ships."""
    pool = _raw(setting.folder) if has_raw(setting) else load_pool(setting.pool)
    return _generate(pool, setting, HELD_OUT + seed, duration_s)


def has_raw(setting: Setting) -> bool:
    return (RAW / setting.folder).is_dir()


def naive_by_window(source: Workload, seed: int, duration_s: float) -> Workload:
    """A Gamma process for each `WINDOW_S` with rate, CV and requests of that window: it drifts as the source does."""
    edges_s = np.append(np.arange(0.0, duration_s, WINDOW_S), duration_s)
    parts = [
        naive(source.slice(start_s, end_s), "gamma", seed + int(start_s), duration_s=end_s - start_s)
        for start_s, end_s in pairwise(edges_s)
    ]
    return Workload.build(
        arrival_s=np.concatenate([part.arrival_s + start_s for part, start_s in zip(parts, edges_s[:-1], strict=True)]),
        input_tokens=np.concatenate([part.input_tokens for part in parts]),
        output_tokens=np.concatenate([part.output_tokens for part in parts]),
    )


# How to make a workload to plan with out of one that is composed of clients, a seed and how long it lasts.
PLANNED_WITH: dict[str, Callable[[Workload, int, float], Workload]] = {
    COMPOSED: lambda source, seed, duration_s: source,
    BY_WINDOW: naive_by_window,
    NAIVE: lambda source, seed, duration_s: naive(source, "gamma", seed, duration_s=duration_s),
}


@lru_cache
def _raw(folder: str) -> ClientPool:
    return read_servegen(RAW / folder, "borrow")  # as the pools that ship do for clients without lengths


def _generate(pool: ClientPool, setting: Setting, seed: int, duration_s: float) -> Workload:
    return generate(pool, seed=seed, start_s=setting.start_s, duration_s=duration_s, scale=setting.scale)
