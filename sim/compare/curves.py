"""What the figures need of a run, small enough to keep for every run and exact to add up over seeds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from workloads import Workload
from workloads.characterize.arrivals import suitable_window_s
from workloads.nominal import nominal_arrival_s

from ..kernel.record import itl_edges_ps
from ..operations import PS_PER_S
from ..result import Result

LATENCIES = ("ttft_s", "tpot_s", "e2e_s")
SHOWN_SHARE = 0.95  # of the requests: the last ones of long conversations may trail for hours after the others
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True)
class Curves:
    """Of one run, or of several added up.

    latencies: for each of `LATENCIES`, how many requests are in each 1 % wide bin between `edges_s`.
    arrivals, ttft_sum_s: by time bin, of the requests that arrive in it. finished: how many end in it. running,
    waiting: in the whole cluster, at the end of each time bin; a run that is over has none of either.
    """

    runs: int
    latencies: dict[str, Counts]
    arrivals: Counts
    ttft_sum_s: Floats
    finished: Counts
    running: Counts
    waiting: Counts

    def cdf(self, latency: str) -> tuple[Floats, Floats]:
        """Seconds, and the share of the requests that took at most so long; empty where none has that latency."""
        counts = self.latencies[latency]
        some = np.flatnonzero(counts)
        return edges_s()[some + 1], np.cumsum(counts[some]) / max(int(counts.sum()), 1)

    def mean_ttft_s(self) -> Floats:
        """By time bin of the arrival; NaN where none arrived."""
        return np.divide(
            self.ttft_sum_s, self.arrivals, out=np.full(len(self.arrivals), np.nan), where=self.arrivals > 0
        )

    def shown_bins(self) -> int:
        """By the end of which time bin `SHOWN_SHARE` of the requests are finished."""
        return 1 + int(np.searchsorted(np.cumsum(self.finished), SHOWN_SHARE * self.finished.sum()))


def time_bin_s(workloads: Collection[Workload]) -> float:
    """Width of the time bins of all runs, in seconds, one for all workloads.

    At most 200 of them until `SHOWN_SHARE` of the requests would have come on an idle server, 4,000 until all have.
    """
    arrivals = [nominal_arrival_s(workload) for workload in workloads]
    return suitable_window_s(max(max(float(np.quantile(a, SHOWN_SHARE)), float(a.max()) / 20) for a in arrivals))


def edges_s() -> Floats:
    """Borders of the bins of latencies; the first and the last bin are open."""
    return itl_edges_ps() / PS_PER_S


def curves(result: Result, bin_s: float) -> Curves:
    """Of a run that was sampled every ``bin_s`` seconds."""
    requests = result.requests[~result.requests["rejected"]]
    arrival_bin, finish_bin = (
        (requests[time].to_numpy() / bin_s).astype(np.int64) for time in ("arrival_s", "finish_s")
    )
    cluster = result.series.groupby("time_s")[["running", "waiting"]].sum()
    return Curves(
        runs=1,
        latencies={name: np.histogram(result.measured[name].dropna(), edges_s())[0] for name in LATENCIES},
        arrivals=np.bincount(arrival_bin),
        ttft_sum_s=np.bincount(arrival_bin, requests["ttft_s"]).astype(np.float64),
        finished=np.bincount(finish_bin),
        running=cluster["running"].to_numpy(),
        waiting=cluster["waiting"].to_numpy(),
    )


def total(several: Sequence[Curves]) -> Curves:
    """Runs of one bin width added up, the shorter ones as if they went on empty."""
    return Curves(
        runs=sum(one.runs for one in several),
        latencies={name: np.sum([one.latencies[name] for one in several], axis=0) for name in LATENCIES},
        arrivals=_sum([one.arrivals for one in several]),
        ttft_sum_s=_sum([one.ttft_sum_s for one in several]),
        finished=_sum([one.finished for one in several]),
        running=_sum([one.running for one in several]),
        waiting=_sum([one.waiting for one in several]),
    )


def _sum(series: Sequence[NDArray[Number]]) -> NDArray[Number]:
    longest = max(len(one) for one in series)
    return np.sum([np.pad(one, (0, longest - len(one))) for one in series], axis=0)
