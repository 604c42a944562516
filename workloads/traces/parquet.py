"""ServeSim's own format: what `Workload.to_parquet` wrote."""

from pathlib import Path

from workloads.traces.registry import trace_format
from workloads.workload import Workload


@trace_format("parquet", "a workload written by Workload.to_parquet")
def read_parquet(path: Path) -> Workload:
    return Workload.from_parquet(path)
