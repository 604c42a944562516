"""Predicted against measured engines: `python -m experiments.accuracy [--data FOLDER] [--out FOLDER]`."""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sim.errors import SimError
from sim.validation import plots, report
from sim.validation.closed_loop import compare_samples, read_samples
from sim.validation.comparison import Comparison, compare
from sim.validation.replay import replay
from sim.validation.runs import EngineRun, read_runs

from .fit import OPEN_LOOP_MODEL, fitted_samples

DATA = Path("../shared/data/engine_runs")
RUNS, REQUESTS = "_runs.csv", "_requests.parquet"
CLOSED_LOOP = "closed_loop*.csv"


def main(data: Path, out: Path) -> None:
    """Figures, comparisons and tables of every table in the folder ``data``, in a folder of ``out`` each."""
    tables = sorted(data.glob(f"*{RUNS}"))
    sweeps = sorted(data.glob(CLOSED_LOOP))
    if not tables and not sweeps:
        raise SimError(f"{data}: has neither *{RUNS} with *{REQUESTS} nor {CLOSED_LOOP}")
    for path in tables:
        name = path.name.removesuffix(RUNS)
        replays = [(run, replay(run)) for run in read_runs(path, path.with_name(name + REQUESTS))]
        comparisons = [one for run, predicted in replays for one in compare(run, predicted)]
        _write(out / name, comparisons, replays, {run.name for run, _ in replays if run.model == OPEN_LOOP_MODEL})
    for path in sweeps:
        samples = read_samples(path)
        _write(out / path.stem, list(compare_samples(samples)), [], {one.id for one in fitted_samples(samples)})


def _write(
    folder: Path,
    comparisons: Sequence[Comparison],
    replays: Sequence[tuple[EngineRun, pd.DataFrame]],
    fitted: Collection[str],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plots.write(folder, comparisons, replays)
    (folder / "validation.json").write_text(report.to_json(comparisons) + "\n", encoding="utf-8")
    table = overall_markdown(comparisons, fitted)
    (folder / "overall.md").write_text(table, encoding="utf-8")
    print(f"{folder}\n\n{table}")


def overall_markdown(comparisons: Sequence[Comparison], fitted: Collection[str]) -> str:
    """Absolute errors in % of the runs that the engine's constants were ``fitted`` to and of the others."""
    split = [replace(one, group=("fitted" if one.run in fitted else "held out")) for one in comparisons]
    errors = report.overall(split)
    lines = [
        "| | segment | metric | runs | median % | mean % | worst % | bias % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.group} | {row.segment} | {row.metric} | {row.runs} | {row.median_pct:.1f} | {row.mean_pct:.1f} "
        f"| {row.worst_pct:.1f} | {row.bias_pct:+.1f} |"
        for row in errors[errors["group"] != "all"].itertuples(index=False)
    ]
    lines += [f"\nNot in these errors, {runs} runs: {note}" for note, runs in report.notes(comparisons).items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.accuracy", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of measured tables; {DATA}")
    parser.add_argument("--out", type=Path, default=Path("out/accuracy"))
    given = parser.parse_args()
    try:
        main(given.data, given.out)
    except SimError as error:
        raise SystemExit(str(error)) from None
