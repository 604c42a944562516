"""Run one workload case in this process and print what it cost, as a line of JSON. `bench.py` starts it once a case.

The folder is read with a cache of its own, so that the user's stays as it is.
"""

import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numba
from cases import WORKLOAD_CASES
from measure import cpu_model

from workloads.clients import ClientPool
from workloads.compose import generate, generate_chunks, write_parquet
from workloads.pools import load_pool
from workloads.servegen import read_servegen

M_LARGE = Path(__file__).parents[2] / "shared/data/servegen/language/m-large"
DAY_S = 86_400.0
EVENING_S, HOUR_S = 64_800.0, 3600.0
SEED = 0


def read() -> ClientPool:
    if not M_LARGE.is_dir():
        raise FileNotFoundError(f"no ServeGen folder {M_LARGE.name}")
    return read_servegen(M_LARGE, "borrow")


def generate_1m(folder: Path) -> Callable[[], int]:
    """A million requests of an hour, from the pool's file to the `Workload`."""

    def run() -> int:
        rate_per_s = 1_000_000 / HOUR_S
        return len(
            generate(load_pool("m-large"), seed=SEED, start_s=EVENING_S, duration_s=HOUR_S, rate_per_s=rate_per_s)
        )

    return run


def stream_10m(folder: Path) -> Callable[[], int]:
    """Ten million requests of a day, from the pool's file to a Parquet file."""

    def run() -> int:
        chunks = generate_chunks(load_pool("m-large"), seed=SEED, duration_s=DAY_S, rate_per_s=10_000_000 / DAY_S)
        return write_parquet(folder / "day.parquet", chunks)

    return run


def servegen_first(folder: Path) -> Callable[[], int]:
    """The raw folder with nothing cached."""
    return lambda: len(read().clients)


def servegen_cached(folder: Path) -> Callable[[], int]:
    """The same folder once more."""
    read()
    return lambda: len(read().clients)


PREPARE = {
    "workload-generate-1m": generate_1m,
    "workload-stream-10m": stream_10m,
    "workload-servegen-first": servegen_first,
    "workload-servegen-cached": servegen_cached,
}


def measure(name: str) -> dict[str, object]:
    """Cost of the case; what it needs beforehand is left out, but counts in the peak memory."""
    case = WORKLOAD_CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        run = PREPARE[name](Path(folder))
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        count = run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    generates = not name.startswith("workload-servegen")
    return {
        "name": name,
        "requests": count if generates else None,
        "clients": None if generates else count,
        "cpu_s": round(cpu_s, 4),
        "target_cpu_s": case.target_cpu_s,
        "wall_s": round(wall_s, 4),
        "requests_per_s": round(count / cpu_s) if generates else None,
        "iterations_per_s": None,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # KiB on Linux
        "target_rss_mb": case.target_rss_mb,
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "numba": numba.__version__,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(measure(sys.argv[1])))
    except FileNotFoundError as error:
        print(json.dumps({"name": sys.argv[1], "skipped": str(error)}))
