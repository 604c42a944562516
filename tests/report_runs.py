"""Result folders for the tests of reports, made up with NumPy: their size does not cost a simulation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from sim.result import SCHEMA_VERSION

LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "queue_s")
PERCENTILES = ("mean", "p50", "p90", "p95", "p99")


def write_run(
    folder: Path, requests: int = 3000, instances: int = 4, samples: int = 300, seed: int = 0, objectives: bool = False
) -> Path:
    """A folder as `servesim run --out` writes it, of random values."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    end_s = samples * 10.0
    arrival_s = np.sort(random.uniform(0, end_s * 0.9, requests))
    ttft_s, tpot_s = random.lognormal(-1, 1, requests), random.lognormal(-4, 0.3, requests)
    table = pd.DataFrame(
        {
            "arrival_s": arrival_s,
            "finish_s": arrival_s + ttft_s + 100 * tpot_s,
            "ttft_s": ttft_s,
            "tpot_s": tpot_s,
            "e2e_s": ttft_s + 100 * tpot_s,
            "instance": random.integers(0, instances, requests, dtype=np.int32),
            "input_tokens": random.integers(100, 5000, requests),
            "hit_tokens": random.integers(0, 100, requests),
            "rejected": False,
        }
    )
    table.to_parquet(folder / "requests.parquet", index=False)
    edges_s = 1e-3 * 1.01 ** np.arange(700)
    bins = {"low_s": edges_s[:-1], "high_s": edges_s[1:], "count": random.integers(1, 1000, 699)}
    pd.DataFrame(bins).to_parquet(folder / "itl.parquet", index=False)
    rows = samples * instances
    series = {
        "time_s": np.repeat(10.0 * np.arange(1, samples + 1), instances),
        "instance": np.tile(np.arange(instances, dtype=np.int32), samples),
        "running": random.integers(0, 64, rows),
        "waiting": random.integers(0, 8, rows),
        "kv_used_fraction": random.uniform(0, 1, rows),
        "hit_ratio": random.uniform(0, 1, rows),
        "busy_fraction": random.uniform(0, 1, rows),
        "prefill_only_iterations": random.integers(0, 20, rows),
        "mixed_iterations": random.integers(0, 50, rows),
        "decode_only_iterations": random.integers(0, 500, rows),
        "prefill_tokens": random.integers(0, 10**5, rows),
        "decode_tokens": random.integers(0, 10**4, rows),
    }
    pd.DataFrame(series).to_parquet(folder / "series.parquet", index=False)
    if objectives:
        by_class = {
            "start_s": np.repeat(10.0 * np.arange(samples), 2),
            "slo_class": pd.Categorical(["chat", "code"] * samples),
            "requests": 100,
            "good_requests": random.integers(80, 101, 2 * samples),
        }
        pd.DataFrame(by_class).to_parquet(folder / "slo_over_time.parquet", index=False)
    kinds = {f"{kind}_iterations": 1000 for kind in ("prefill_only", "mixed", "decode_only")}
    summary = {
        "schema_version": SCHEMA_VERSION,
        "scenario": {"gpu": "H20", "model": "qwen2.5-7b", "router": "lmetric", "seed": seed},
        "given_in_python": {},
        "requests": requests,
        "rejected": 0,
        "warmup_requests": 0,
        "start_s": 0.0,
        "end_s": end_s,
        "requests_per_s": requests / end_s,
        "output_tokens_per_s": 100.0,
        "hit_ratio": 0.5,
        "preemptions": 0,
        "iterations": 3000 * instances,
        "requests_beyond_context": 0,
        "operations_not_reached": 0,
        "assumptions": {},
        "input_tokens": 2500 * requests,
        "output_tokens": 100 * requests,
        "kv_blocks": 1000,
        "gpu_hours": instances * end_s / 3600,
        "saturated": {"saturated": False},
        "slo": None,
        "groups": [{"name": "all", "gpu": "H20", "model": "qwen2.5-7b", "instances": instances}],
        "instances": [{"instance": i, "busy_fraction": 0.5, "evicted_blocks": 0, **kinds} for i in range(instances)],
        **{name: dict.fromkeys(PERCENTILES, 1.0) for name in LATENCIES},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
