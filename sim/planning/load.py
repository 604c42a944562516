"""The workload of a scenario at another rate, and which part of it is measured."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.nominal import nominal_arrival_s

from ..errors import SimError
from ..scenario import Scenario, WorkloadSource
from ..simulation import load_workload

STEADY = 0.9  # share of a workload's requests that come within the warm-up after the first of their conversation
LEAST_WARMUP_S = 60.0  # assumption: in which batches and caches fill
PROBE_PER_S = 100.0  # at which the delays of follow-ups are looked at; they hardly depend on the rate
ALONE_PER_S = 0.01  # so rarely come requests that find an idle instance
ALONE_REQUESTS = 2000  # with each seed, about


@dataclass(frozen=True)
class Load:
    """A scenario whose workload has the rate; requests that arrive after ``end_s`` are simulated but not measured."""

    scenario: Scenario
    rate_per_s: float
    end_s: float

    @property
    def measured_s(self) -> float:
        return self.end_s - self.scenario.warmup_s


class Loads:
    """The workload of a scenario at any rate, in requests per second.

    A recipe or pool is generated for a warm-up, unless the scenario has one, and until ``requests`` more are expected.
    Conversations go on for hours, so that follow-ups are few at first: the warm-up lasts until `STEADY` of them come,
    and more conversations make up for those still missing. A trace is taken whole, its arrivals stretched.
    """

    def __init__(self, scenario: Scenario, requests: int) -> None:
        source = scenario.workload
        chosen = {"requests", "duration_s"} & set(source.options)
        if source.trace is None and chosen:
            raise SimError(f"workload.options.{min(chosen)}: a plan chooses how long to run; use --requests")
        taken = ("start_s", "end_s", "requests")
        if source.trace is None and any(getattr(source, name) is not None for name in taken):
            raise SimError(
                f"workload: {', '.join(taken)}: a plan generates what it needs of a recipe or pool; use none"
            )
        if source.trace is None and (source.rate_scale != 1.0 or source.time_scale != 1.0 or "scale" in source.options):
            raise SimError("workload: a plan sets the rate of a recipe or pool itself; leave out every scale")
        self.scenario, self.requests = scenario, requests

    @property
    def own_rate_per_s(self) -> float | None:
        """What the scenario says, or the trace; None where a recipe or pool is given without a rate."""
        if self.scenario.workload.trace is not None:
            return self._trace[0]
        rate = self.scenario.workload.options.get("rate_per_s")
        return None if rate is None else float(rate)

    def at(self, rate_per_s: float) -> Load:
        """At this rate."""
        source = self.scenario.workload
        if source.trace is not None:
            own_per_s, last_s, _ = self._trace
            faster = rate_per_s / own_per_s
            scenario = self._with(rate_scale=source.rate_scale * faster)
            return Load(scenario, rate_per_s, last_s / faster)
        warmup_s, measured_s = self._warmup_s, self.requests / rate_per_s
        came = np.clip((warmup_s + measured_s - self._delays_s) / measured_s, 0.0, 1.0).mean()
        options = {"rate_per_s": float(rate_per_s / came), "duration_s": warmup_s + measured_s}
        scenario = self._with(options={**source.options, **options}).model_copy(update={"warmup_s": warmup_s})
        return Load(scenario, rate_per_s, warmup_s + measured_s)

    def alone(self) -> Load:
        """Some of the requests, so far apart that each finds an idle instance."""
        if self.scenario.workload.trace is not None:
            own_per_s, _, requests = self._trace
            slower = self.scenario.workload.rate_scale * ALONE_PER_S / own_per_s
            scenario = self._with(requests=min(ALONE_REQUESTS, requests), rate_scale=slower)
        else:
            options = {"rate_per_s": PROBE_PER_S, "duration_s": ALONE_REQUESTS / PROBE_PER_S}
            options = {**self.scenario.workload.options, **options}
            scenario = self._with(options=options, rate_scale=ALONE_PER_S / PROBE_PER_S)
        return Load(scenario.model_copy(update={"warmup_s": 0.0}), ALONE_PER_S, float("inf"))

    def _with(self, **changes: Any) -> Scenario:
        source: WorkloadSource = self.scenario.workload.model_copy(update=changes)
        return self.scenario.model_copy(update={"workload": source})

    @cached_property
    def _trace(self) -> tuple[float, float, int]:
        """Requests per second of the trace, when its last conversation begins, and how many requests it has."""
        workload = load_workload(self.scenario)
        last_s = float(workload.arrival_s[workload.parent < 0].max())
        span_s = float(np.ptp(nominal_arrival_s(workload)))
        if span_s == 0:
            raise SimError("workload: all requests of the trace come at one instant, so that it has no rate")
        return len(workload) / span_s, last_s, len(workload)

    @cached_property
    def _delays_s(self) -> NDArray[np.float64]:
        """How long after the first of its conversation each of some requests comes, on an idle cluster."""
        options = {"rate_per_s": PROBE_PER_S, "duration_s": self.requests / PROBE_PER_S}
        probe = self._with(options={**self.scenario.workload.options, **options})
        return nominal_arrival_s(load_workload(probe).scale_rate(1e12))  # all conversations begin at once

    @cached_property
    def _warmup_s(self) -> float:
        if self.scenario.warmup_s > 0:
            return self.scenario.warmup_s
        return max(LEAST_WARMUP_S, float(np.ceil(np.percentile(self._delays_s, 100 * STEADY))))
