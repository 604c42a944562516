"""Tables and figures of README.md: `python -m experiments.lmetric [--out FOLDER]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..parallel import in_parallel
from . import causes, every_recipe, failure, figures, sources, tables
from .runs import KINDS, MODELS, ROUTERS, Task, most_per_s, run_all

SEEDS = range(3)
HALF = 0.5
LOADS = (0.25, 0.5, 0.7, 0.9)
SWEPT = ("round-robin", "vllm", "linear 0.7", "preble", "simulation", "lmetric")
SWEPT_MODEL = "qwen2.5-7b"
MORE_SEEDS = range(5)  # on every recipe
Rates = dict[tuple[str, str], float]  # maximum of a model and a workload, requests/s


def main(
    out: Path,
    seeds: Sequence[int] = SEEDS,
    size: float = 1.0,
    loads: Sequence[float] = LOADS,
    failure_s: float = failure.DURATION_S,
    more_seeds: Sequence[int] = MORE_SEEDS,
) -> None:
    """Write tables.md, runs.csv and the figures into the folder ``out``. size: see `sources.at_rate`."""
    rates = _rates(sources.available(), size)
    half = run_all(_tasks(rates, [HALF], tuple(KINDS), seeds, size))
    swept_rates = {pair: rate for pair, rate in rates.items() if pair[0] == SWEPT_MODEL}
    sweep = run_all(_tasks(swept_rates, loads, SWEPT, seeds, size))
    hot = pd.concat(in_parallel(failure.over_time, [(router, failure_s) for router in failure.ROUTERS]))
    most = rates[causes.MODEL, "chatbot"]
    kinds = [*((router, 1.0) for router in causes.ROUTERS), ("lmetric", causes.IDLE)]
    parts = pd.DataFrame(in_parallel(causes.by_kind, [(*kind, most, size) for kind in kinds]))
    every = _rates(list(sources.SHIPPED), size)
    recipes = run_all(_tasks(every, [HALF], every_recipe.ROUTERS, more_seeds, size))
    met = pd.DataFrame(
        in_parallel(
            every_recipe.met,
            [
                (model, recipe, router, HALF * rate, size)
                for (model, recipe), rate in every.items()
                if model == SWEPT_MODEL
                for router in every_recipe.ROUTERS
            ],
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    runs = {"half": half, "sweep": sweep, "every recipe": recipes}
    pd.concat(table.assign(part=part) for part, table in runs.items()).to_csv(
        out / "runs.csv", index=False, lineterminator="\n"
    )
    _write_figures(out, half, sweep, hot, recipes)
    told = _report(rates, half, sweep, hot, parts) | every_recipe.report(recipes, met)
    report = "\n".join(f"## {title}\n\n{table}" for title, table in told.items())
    (out / "tables.md").write_text(report, encoding="utf-8")
    print(report)


def _rates(workloads: Sequence[str], size: float) -> Rates:
    pairs = [(model, workload) for model in MODELS for workload in workloads]
    return dict(zip(pairs, in_parallel(most_per_s, [(*pair, size) for pair in pairs]), strict=True))


def _tasks(
    rates: Rates, loads: Sequence[float], routers: Sequence[str], seeds: Sequence[int], size: float
) -> list[Task]:
    """Those of one workload in a row, as a process keeps the last ones that it drew."""
    return [
        Task(model, workload, load, rate, router, seed, size)
        for (model, workload), rate in rates.items()
        for load in loads
        for seed in seeds
        for router in routers
    ]


def _write_figures(
    out: Path, half: pd.DataFrame, sweep: pd.DataFrame, hot: pd.DataFrame, recipes: pd.DataFrame
) -> None:
    sheets = {f"half-load-{model}": figures.bars(half, tuple(ROUTERS), model) for model in MODELS}
    sheets |= {"sweep": figures.sweep(sweep), "failure": figures.failure(hot)}
    sheets["every-recipe"] = figures.bars(recipes, every_recipe.ROUTERS, SWEPT_MODEL)
    for name, sheet in sheets.items():
        sheet.savefig(out / f"{name}.png", dpi=80)


def _report(
    rates: Rates, half: pd.DataFrame, sweep: pd.DataFrame, hot: pd.DataFrame, kinds: pd.DataFrame
) -> dict[str, str]:
    """Tables by title."""
    parts = {
        "Beside the paper": tables.beside_the_paper(half),
        "Against round-robin": tables.against_round_robin(half),
        "Maximum rates": tables.maxima(rates, half),
    }
    for (model, workload), group in half.groupby(["model", "workload"], sort=False):
        parts[f"Half load: {workload}, {model}"] = tables.routers(group, tuple(ROUTERS))
    parts |= {
        f"TTFT by kind of request: chatbot, {causes.MODEL}": tables.by_kind(kinds),
        "Ablations": tables.ablations(half),
        f"Rates: {SWEPT_MODEL}": tables.sweep(sweep),
        "The failure case": tables.failure(hot),
    }
    return parts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.lmetric", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/lmetric"))
    main(parser.parse_args().out)
