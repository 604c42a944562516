"""A sweep: the cells that its folder does not have yet are run and kept, wherever they run."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ..cells import Failed, row, run_all
from ..cells.backends import open_pool
from ..cells.requests import shared_requests
from ..cells.row import Row
from ..simulation import run_scenario
from .definition import Definition
from .folder import SweepFolder
from .plan import Cell, plan

Progress = Callable[[int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Failure:
    """A cell that came to nothing, and why."""

    cell: str
    error: str


@dataclass(frozen=True)
class Sweep:
    """What became of it: how many cells there are, how many were there before, and those that failed, by index."""

    cells: int
    found: int
    failures: list[Failure]


def measure(cell: Cell) -> Row:
    """Run the cell."""
    scenario = cell.scenario.model_copy(update={"series_interval_s": None})  # no column is of the samples
    return row(run_scenario(scenario, shared_requests(cell.requests_digest, scenario)).summary)


def _silent(_: int) -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


def sweep(
    definition: Definition,
    folder: Path,
    backend: str = "loky",
    jobs: int | None = None,
    address: str | None = None,
    progress: Progress = _silent,
    measure: Callable[[Cell], Row] = measure,
) -> Sweep:
    """Run the cells that ``folder`` does not have yet, and keep each there as it finishes.

    ``backend``, ``jobs`` and ``address`` are those of `sim.cells.backends`; results do not depend on them.
    ``progress(cells)`` is a context that gives what is called after each of so many. Raises `SimError` for what stands
    in the way of all cells, before any runs; a cell that fails is among the failures, and is tried again next time.
    """
    planned = plan(definition)
    kept = SweepFolder(folder, definition, planned)
    missing = _by_requests([cell for cell in planned.cells if cell.index not in kept.finished])
    failed: dict[int, Failure] = {}
    if missing:
        with open_pool(backend, jobs, address) as pool, progress(len(missing)) as finished:
            for place, outcome in run_all(measure, missing, pool):
                cell = missing[place]
                if isinstance(outcome, Failed):
                    failed[cell.index] = Failure(cell.label, outcome.error)
                else:
                    kept.keep(cell, outcome)
                finished()
    return Sweep(len(planned.cells), len(kept.finished), [failed[index] for index in sorted(failed)])


def _by_requests(cells: list[Cell]) -> list[Cell]:
    """Those that share their requests one after the other, so that a worker has them at hand."""
    first: dict[str, int] = {}
    return sorted(cells, key=lambda cell: (first.setdefault(cell.requests_digest, cell.index), cell.index))
