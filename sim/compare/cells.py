"""The runs of a comparison, a policy and a seed each, on several processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workloads import Workload

from ..cells import Failed, row, run_all
from ..cells.backends import open_pool
from ..scenario import Scenario
from ..simulation import run_scenario
from .curves import Curves, curves
from .metrics import METRICS, SLO_METRICS


@dataclass(frozen=True)
class Cell:
    """One run to be made: the policy's scenario with ``seed``, sampled every ``bin_s`` seconds."""

    policy: str
    scenario: Scenario
    seed: int
    workload: Workload
    bin_s: float


@dataclass(frozen=True)
class Run:
    """What is kept of a run. ``metrics`` by name of `METRICS` and `SLO_METRICS`, NaN where the run has none of it."""

    policy: str
    seed: int
    requests: int
    rejected: int
    requests_beyond_context: int
    operations_not_reached: int
    saturated: bool
    metrics: dict[str, float]
    assumptions: dict[str, str]
    curves: Curves


@dataclass(frozen=True)
class Failure:
    """A run that came to nothing, and why."""

    policy: str
    seed: int
    error: str


def run_cell(cell: Cell) -> Run:
    """Make the run."""
    scenario = cell.scenario.model_copy(update={"seed": cell.seed, "series_interval_s": cell.bin_s})
    result = run_scenario(scenario, cell.workload)
    summary = result.summary
    numbers = row(summary)
    return Run(
        cell.policy,
        cell.seed,
        summary["requests"],
        summary["rejected"],
        summary["requests_beyond_context"],
        summary["operations_not_reached"],
        bool(summary["saturated"]["saturated"]),
        {metric.name: metric.of(numbers) for metric in (*METRICS, *SLO_METRICS)},
        summary["assumptions"],
        curves(result, cell.bin_s),
    )


def run_cells(cells: Sequence[Cell], jobs: int, finished: Callable[[], None]) -> list[Run | Failure]:
    """What became of each cell, in their order, whatever the number of processes; ``finished`` is called after each."""
    outcomes: dict[int, Run | Failure] = {}
    workers = min(jobs, len(cells))
    with open_pool("loky" if workers > 1 else "inline", workers) as pool:
        for place, outcome in run_all(run_cell, cells, pool):
            if isinstance(outcome, Failed):
                outcomes[place] = Failure(cells[place].policy, cells[place].seed, outcome.error)
            else:
                outcomes[place] = outcome
            finished()
    return [outcomes[place] for place in range(len(cells))]
