"""The runs of a comparison, a policy and a seed each, on several processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from hardware_profiles import ProfileError
from workloads import Workload, WorkloadError

from ..errors import SimError
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


def run_cell(cell: Cell) -> Run | Failure:
    """Make the run; whatever goes wrong in it is told, as other runs are not to be lost for it."""
    scenario = cell.scenario.model_copy(update={"seed": cell.seed, "series_interval_s": cell.bin_s})
    try:
        result = run_scenario(scenario, cell.workload)
        summary = result.summary
        return Run(
            cell.policy,
            cell.seed,
            summary["requests"],
            summary["requests_beyond_context"],
            summary["operations_not_reached"],
            bool(summary["saturated"]["saturated"]),
            {metric.name: metric.of(summary) for metric in (*METRICS, *SLO_METRICS)},
            summary["assumptions"],
            curves(result, cell.bin_s),
        )
    except (SimError, WorkloadError, ProfileError) as error:
        return Failure(cell.policy, cell.seed, str(error))
    except MemoryError:
        return Failure(cell.policy, cell.seed, "not enough memory; use fewer requests, instances or --jobs")
    except Exception as error:
        return Failure(cell.policy, cell.seed, f"{type(error).__name__}: {error}")


def run_cells(cells: Sequence[Cell], jobs: int, finished: Callable[[], None]) -> list[Run | Failure]:
    """What became of each cell, in their order, whatever the number of processes; ``finished`` is called after each.

    If the system ends a process, for want of memory mostly, the cells not finished by then fail.
    """
    outcomes: dict[tuple[str, int], Run | Failure] = {}
    parallel = Parallel(min(jobs, len(cells)), backend="loky", return_as="generator_unordered", batch_size=1)
    try:
        for outcome in parallel(delayed(run_cell)(cell) for cell in cells):
            outcomes[outcome.policy, outcome.seed] = outcome
            finished()
    except BrokenProcessPool:
        pass
    ended = "a process was ended from outside, mostly for want of memory; use fewer --jobs"
    return [outcomes.get((cell.policy, cell.seed), Failure(cell.policy, cell.seed, ended)) for cell in cells]
