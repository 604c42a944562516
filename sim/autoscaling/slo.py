"""Scaling by latency targets: what an instance can carry is learnt, what will arrive is forecast."""

import math
from collections import deque
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, PrivateAttr

from ..scenario import Positive
from .registry import Policy, autoscaler
from .view import FleetView


@autoscaler("slo")
class Slo(Policy):
    """as many instances as keep TTFT and TPOT within their targets, by the rate that each has proved to carry

    docs/autoscaling.md has the control law.
    """

    needs_targets: ClassVar[bool] = True
    comfort: Annotated[float, Field(gt=0, lt=1)] = 0.6  # pressure up to which an instance could carry more
    growth: Annotated[float, Field(gt=0, le=1)] = 0.01  # of the capacity, a tick
    backoff: Annotated[float, Field(gt=0, lt=1)] = 0.1  # of the capacity, when targets are missed
    blame: Annotated[float, Field(gt=0, le=1)] = 0.6  # share of the capacity below which load does not explain a miss
    trend_s: Positive = 600.0  # over which the trend of the arrivals is measured

    _capacity_per_s: float = PrivateAttr(0.0)  # requests that an instance carries
    _lowered_s: float = PrivateAttr(-math.inf)
    _history: deque[tuple[float, float]] = PrivateAttr(default_factory=deque)

    def desired(self, view: FleetView) -> int:
        """The forecast rate, and the waiting requests within a window, over what an instance carries."""
        if view.ready == 0:
            return view.coming
        self._learn(view)
        if self._capacity_per_s == 0:
            return view.coming
        backlog_per_s = view.waiting_per_instance * view.ready / view.window_s
        wanted = math.ceil((self._forecast_per_s(view) + backlog_per_s) / self._capacity_per_s)
        missing = view.pressure > 1 and view.starting == 0
        return max(wanted, view.ready + 1) if missing else wanted

    def _learn(self, view: FleetView) -> None:
        """Raise the capacity where there is room in the latencies, lower it where targets are missed."""
        load_per_s = view.arrivals_per_s / view.ready
        if view.pressure > 1:
            if load_per_s >= self.blame * self._capacity_per_s and view.time_s - self._lowered_s >= view.window_s:
                self._capacity_per_s *= 1 - self.backoff
                self._lowered_s = view.time_s
            return
        self._capacity_per_s = max(self._capacity_per_s, load_per_s)
        if view.pressure < self.comfort and load_per_s > self._capacity_per_s / 2:
            self._capacity_per_s *= 1 + self.growth

    def _forecast_per_s(self, view: FleetView) -> float:
        """The rate when an instance that is added now will be ready; not below that of now."""
        self._history.append((view.time_s, view.arrivals_per_s))
        while self._history[0][0] < view.time_s - self.trend_s:
            self._history.popleft()
        if len(self._history) < 3:
            return view.arrivals_per_s
        times_s, rates_per_s = np.array(self._history).T
        since_s = times_s - times_s.mean()
        slope = float((since_s * rates_per_s).sum() / (since_s**2).sum())  # least squares
        return view.arrivals_per_s + max(0.0, slope) * (view.cold_start_s + view.interval_s)
