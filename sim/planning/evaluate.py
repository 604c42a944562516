"""Fleets at rates, tried on a pool of processes with the same requests for all of a seed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ..cells import Failed, run_all
from ..cells.backends import Pool
from ..cells.requests import seed_matters
from ..scenario import InstanceGroup, fleet_label
from .load import Loads
from .verdict import Cell, Run, Verdict, run_cell


@dataclass(frozen=True)
class Trial:
    """A fleet at a rate; or ``alone``, where each request finds it idle."""

    groups: tuple[InstanceGroup, ...]
    rate_per_s: float
    alone: bool = False

    @property
    def label(self) -> str:
        return fleet_label(self.groups)

    @property
    def told(self) -> str:
        return f"{self.label} at {self.rate_per_s:g} requests/s"

    @property
    def key(self) -> str:
        """What tells it from others."""
        return json.dumps([[one.model_dump(mode="json") for one in self.groups], self.rate_per_s, self.alone])


@dataclass
class Evaluator:
    """Runs what it is asked for and remembers it. ``seeds`` seeds, from the scenario's own on, count in the end."""

    loads: Loads
    seeds: int
    pool: Pool
    finished: Callable[[], None]
    _known: dict[tuple[str, int], Run | Failed] = field(default_factory=dict)

    def verdicts(self, asked: Sequence[tuple[Trial, int]]) -> list[Verdict | Failed]:
        """Of each trial with its first so many seeds; all runs that are missing are made at once."""
        wanted = {(trial.key, seed): trial for trial, seeds in asked for seed in range(seeds)}
        missing = [one for one in wanted if one not in self._known]
        cells = [self._cell(wanted[one], one[1]) for one in missing]
        for place, outcome in run_all(run_cell, cells, self.pool):
            self._known[missing[place]] = outcome
            self.finished()
        return [self._verdict([self._known[trial.key, seed] for seed in range(seeds)]) for trial, seeds in asked]

    def _verdict(self, runs: Sequence[Run | Failed]) -> Verdict | Failed:
        for run in runs:
            if isinstance(run, Failed):
                return run
        return Verdict(tuple(run for run in runs if isinstance(run, Run)))

    def _cell(self, trial: Trial, seed: int) -> Cell:
        load = self.loads.alone() if trial.alone else self.loads.at(trial.rate_per_s)
        number = load.scenario.seed + seed
        fleet = {
            "fleet": list(trial.groups),
            "instances": sum(group.instances for group in trial.groups),
            "seed": number,
        }
        drawn = (load.scenario.workload.model_dump_json(), number if seed_matters(load.scenario.workload) else None)
        digest = sha256(json.dumps(drawn).encode()).hexdigest()
        return Cell(load.scenario.model_copy(update=fleet), digest, load.end_s)
