"""Tables and figure of README.md: `python -m experiments.servegen_provisioning [--out FOLDER]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..parallel import in_parallel
from . import figures, tables
from .runs import Task, run
from .sources import SETTINGS, Setting, has_raw

SEEDS = range(3)
DURATION_S = 1200.0  # two of ServeGen's windows


def main(
    out: Path,
    settings: Sequence[Setting] = SETTINGS,
    seeds: Sequence[int] = SEEDS,
    duration_s: float = DURATION_S,
) -> None:
    """Write tables.md, runs.csv and shortfall.png into the folder ``out``."""
    for setting in settings:
        if not has_raw(setting):
            print(f"{setting.name}: ServeGen's data is absent; held-out traffic is of the pool that ships, other seeds")
    tasks = [Task(setting, seed, duration_s) for setting in settings for seed in seeds]
    found = in_parallel(run, [(task,) for task in tasks])
    runs = pd.DataFrame([row for rows, _ in found for row in rows])
    parts = {"Verdict": tables.verdict(runs), "Plans": tables.plans(runs)}
    for setting in settings:
        of = [measures for task, (_, measures) in zip(tasks, found, strict=True) if task.setting == setting]
        parts[f"Workloads: {setting.name}"] = tables.aggregates(pd.concat(of))
    report = "\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
    out.mkdir(parents=True, exist_ok=True)
    runs.to_csv(out / "runs.csv", index=False, lineterminator="\n")
    (out / "tables.md").write_text(report, encoding="utf-8")
    figures.shortfalls(runs).savefig(out / "shortfall.png", dpi=80)
    print(report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.servegen_provisioning", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/servegen-provisioning"))
    main(parser.parse_args().out)
