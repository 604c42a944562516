"""Tables and figures of README.md: `python -m experiments.router_staleness [--out FOLDER]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..lmetric import sources
from ..lmetric.runs import most_per_s
from ..parallel import in_parallel
from . import figures, tables
from .runs import MODEL, ROUTERS, VIEWS, Task, run

WORKLOADS = ("chatbot", "conversation")
LOADS = (0.5, 0.8)
SEEDS = range(3)
SIZE = 0.2  # six minutes of chatbot, 2,406 requests of the trace: what costs are the refreshes of the caches


def main(
    out: Path,
    seeds: Sequence[int] = SEEDS,
    size: float = SIZE,
    loads: Sequence[float] = LOADS,
    routers: Sequence[str] = tuple(ROUTERS),
) -> None:
    """Write tables.md, runs.csv and the figures into the folder ``out``."""
    workloads = [name for name in sources.available() if name in WORKLOADS]
    # The maximum is that of experiments/lmetric, of the whole workload.
    found = in_parallel(most_per_s, [(MODEL, workload, min(1.0, size / SIZE)) for workload in workloads])
    most = dict(zip(workloads, found, strict=True))
    tasks = [
        Task(workload, load, most[workload], seed, router, view, size)
        for workload in workloads
        for load in loads
        for seed in seeds
        for router in routers
        for view in VIEWS
    ]
    runs = pd.DataFrame(in_parallel(run, [(task,) for task in tasks]))
    out.mkdir(parents=True, exist_ok=True)
    runs.to_csv(out / "runs.csv", index=False, lineterminator="\n")
    for name, sheet in {"lateness": figures.by_lateness(runs), "herding": figures.herding(runs)}.items():
        sheet.savefig(out / f"{name}.png", dpi=80)
    report = _report(most, runs, loads)
    (out / "tables.md").write_text(report, encoding="utf-8")
    print(report)


def _report(most: dict[str, float], runs: pd.DataFrame, loads: Sequence[float]) -> str:
    changed = tables.changed_controls(runs)
    controls = (
        f"Changed: {'; '.join(changed)}\n" if changed else "Every metric of every seed is the same in all views.\n"
    )
    parts = {"Rates": tables.rates(most, runs, loads), "Controls": controls, "Lowest mean TTFT": tables.best(runs)}
    for (workload, load), group in runs.groupby(["workload", "load"], sort=False):
        setting = f"{workload} at {load:g}"
        parts[f"Late: {setting}"] = tables.lateness(group)
        parts[f"Busiest instance: {setting}"] = tables.herding(group)
        parts[f"Own index: {setting}"] = tables.own_index(group)
    return "\n".join(f"## {title}\n\n{table}" for title, table in parts.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.router_staleness", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/router-staleness"))
    main(parser.parse_args().out)
