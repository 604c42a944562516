"""Whether a fleet keeps its SLO at a rate: run by run, and over all seeds."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..cells.requests import shared_requests
from ..goodput import slo_summary
from ..metrics import distribution
from ..saturation import saturation
from ..scenario import Scenario
from ..simulation import run_scenario
from ..statistics import Interval, t_interval

SAMPLES = 20  # of the instances' busy time while requests are measured


@dataclass(frozen=True)
class Cell:
    """A run to be made, of a scenario with its seed; requests that arrive after ``end_s`` are not measured."""

    scenario: Scenario
    requests_digest: str
    end_s: float


@dataclass(frozen=True)
class Run:
    """What is kept of it. ``attained`` has, by class and metric, the share within the target and the share wanted.

    ``busy`` is the busy fraction of each group's instances. Tokens and requests are those that arrive while measured.
    """

    attained: dict[str, tuple[float, float]]
    ttft_p99_s: float | None
    tpot_p99_s: float | None
    saturated: bool
    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    busy: tuple[float, ...]

    @property
    def holds(self) -> bool:
        return not self.saturated and all(share >= wanted for share, wanted in self.attained.values())


def run_cell(cell: Cell) -> Run:
    """Make the run."""
    requests = shared_requests(cell.requests_digest, cell.scenario)
    start_s = cell.scenario.warmup_s
    last_s = min(cell.end_s, float(np.nanmax(requests.arrival_s)))
    span_s = max(last_s - start_s, 1.0)
    interval_s = span_s / SAMPLES
    result = run_scenario(cell.scenario.model_copy(update={"series_interval_s": interval_s}), requests)
    measured = result.measured[result.measured["arrival_s"] <= cell.end_s]
    served = measured[~measured["rejected"]]
    judged = result.judged.loc[result.judged.index.isin(measured.index)]
    slo = slo_summary(cell.scenario.slo, judged, result.itl_edges_s, result.itl_counts, span_s)
    arrival_s, scheduled_s, finish_s = (
        result.requests[name].to_numpy() for name in ("arrival_s", "first_scheduled_s", "finish_s")
    )
    series = result.series[result.series["time_s"].between(start_s + interval_s, last_s + interval_s)]
    busy = series.groupby("instance")["busy_fraction"].mean().groupby(result.cluster.state.inst["group"]).mean()
    return Run(
        _attained(slo["classes"]),
        distribution(measured["ttft_s"].to_numpy())["p99"],
        distribution(measured["tpot_s"].to_numpy())["p99"],
        bool(saturation(arrival_s, scheduled_s, finish_s, requests.parent < 0).saturated),
        len(served) / span_s,
        float(served["input_tokens"].sum()) / span_s,
        float(served["output_tokens"].sum()) / span_s,
        tuple(map(float, busy)),
    )


def _attained(classes: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    found = {}
    for one in classes:
        wanted, slo = one["slo"]["attainment"], one["slo"]
        for metric, share in one["attained"].items():
            found[f"{one['class']}: {metric}"] = (share["share"], wanted)
        if "itl_p99_s" in slo and one["itl_p99_s"] is not None:
            found[f"{one['class']}: itl_p99_s"] = (float(one["itl_p99_s"] <= slo["itl_p99_s"]), 1.0)
    return found


@dataclass(frozen=True)
class Verdict:
    """Over the seeds' runs of one fleet at one rate."""

    runs: tuple[Run, ...]

    @cached_property
    def _intervals(self) -> dict[str, tuple[Interval, float]]:
        first = self.runs[0].attained
        found = {}
        for name, (_, wanted) in first.items():
            one = t_interval([run.attained.get(name, (np.nan,))[0] for run in self.runs])
            within = replace(one, low=float(np.maximum(one.low, 0)), high=float(np.minimum(one.high, 1)))  # NaN stays
            found[name] = (within, wanted)
        return found

    @cached_property
    def tightest(self) -> str:
        """The class and metric whose mean attainment exceeds what is wanted by least."""
        return min(self._intervals, key=lambda name: self._intervals[name][0].mean - self._intervals[name][1])

    @property
    def attainment(self) -> Interval:
        """Of the tightest."""
        return self._intervals[self.tightest][0]

    @property
    def wanted(self) -> float:
        return self._intervals[self.tightest][1]

    @property
    def seeds_holding(self) -> int:
        return sum(run.holds for run in self.runs)

    @property
    def saturated(self) -> int:
        """Of how many seeds the queue only grows."""
        return sum(run.saturated for run in self.runs)

    @cached_property
    def told(self) -> Literal["holds", "misses", "unclear"]:
        """`holds` where no seed is saturated and every attainment's interval lies at or above what is wanted; `misses`
        where a seed is saturated or an interval lies below it. One seed has no interval: its share counts.
        """
        if self.saturated:
            return "misses"
        bounds = [
            (one.mean, one.mean, wanted) if one.seeds == 1 else (one.low, one.high, wanted)
            for one, wanted in self._intervals.values()
        ]
        if all(low >= wanted for low, _, wanted in bounds):
            return "holds"
        return "misses" if any(high < wanted for _, high, wanted in bounds) else "unclear"

    @property
    def holds(self) -> bool:
        return self.told == "holds"

    @property
    def busy(self) -> list[float]:
        """Of each group, the mean of the runs."""
        return [float(fraction) for fraction in np.mean([run.busy for run in self.runs], axis=0)]

    def mean(self, name: str) -> float:
        """Of a field of the runs; NaN where one has none."""
        return float(np.mean([float("nan") if (value := getattr(run, name)) is None else value for run in self.runs]))
