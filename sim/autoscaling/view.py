"""What an autoscaler sees."""

from collections.abc import Callable
from typing import NamedTuple


class FleetView(NamedTuple):
    """The fleet at a tick of the autoscaler. *Recent* is the last `window_s` of the scenario's `autoscaler`.

    A hanging instance counts as ready until it is known to have failed, a failed one not at all.
    """

    time_s: float
    ready: int  # instances that accept requests
    starting: int  # that will
    draining: int  # that finish what they have
    cold_start_s: float  # of an instance added now
    interval_s: float  # between ticks
    window_s: float  # what "recent" means
    waiting_per_instance: float  # requests, a mean over the ready; those held at the router included
    running_per_instance: float
    busy_fraction: float  # time with a step in flight since the last tick, a mean over the ready
    kv_used_fraction: float  # KV blocks in use now, likewise
    arrivals_per_s: float  # recent
    attainment: float  # share of the recent TTFTs and TPOTs within their targets, of the worse; NaN without any
    pressure: float  # recent latency over its target, at the quantile to be attained, of the worse; NaN without any

    @property
    def coming(self) -> int:
        """Instances that accept requests, or will."""
        return self.ready + self.starting


PythonAutoscaler = Callable[[FleetView], int]  # how many instances there should be
