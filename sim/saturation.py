"""Whether the queue grows as long as requests come, so that latencies say how long the run was and nothing else.

A queue of Q(t) waiting requests is stable if Q(t) / t goes to 0 (rate stability: El-Taha and Stidham, Sample-Path
Analysis of Queueing Systems, 1999). The growth Q(t) / t is estimated over the time in which new conversations come,
cut into intervals of equal length: the queue grows if

* Student's 95 % interval of the growth in these intervals lies above 0. A burst that drains, or a single one, does not
  make it so: the spread between the intervals counts;
* and at the end at least `LEAST_SHARE` of the requests that came are waiting. This keeps a queue that is merely longer
  at the end of a long day than in its morning from counting.

It is the waiting queue that is looked at: batches that fill up at the start of a run are no sign of anything.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .statistics import t_interval

INTERVALS = 20
FEWEST_REQUESTS = 10 * INTERVALS
LEAST_SHARE = 0.02  # assumption: an offered load of 1.02 or more; below, a run of any usual length has a usable mean

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Saturation:
    """``saturated`` is None where nobody can tell, and ``unknown`` says why.

    The rest is over the time from the first arrival to the last of a new conversation. ``backlog_requests`` wait at its
    end; ``growth_per_s`` of them more come every second than are scheduled.
    """

    saturated: bool | None
    unknown: str | None = None
    backlog_requests: int | None = None
    growth_per_s: float | None = None
    offered_per_s: float | None = None
    served_per_s: float | None = None


def saturation(arrival_s: Floats, first_scheduled_s: Floats, finish_s: Floats, roots: NDArray[np.bool_]) -> Saturation:
    """Of a whole run, seconds, a value a request, NaN of one that was refused; ``roots`` are those that follow up on no
    other.
    """
    served = ~np.isnan(first_scheduled_s)
    arrival_s, first_scheduled_s, finish_s = (times[served] for times in (arrival_s, first_scheduled_s, finish_s))
    roots = roots[served]
    if not roots.any():
        return Saturation(None, "no request is served")
    first_s, last_s = float(arrival_s.min()), float(arrival_s[roots].max())
    if int((arrival_s <= last_s).sum()) < FEWEST_REQUESTS:
        return Saturation(None, f"fewer than {FEWEST_REQUESTS} requests arrive while new conversations come")
    if last_s == first_s:
        return Saturation(None, "all new conversations come at one instant")
    edges_s = np.linspace(first_s, last_s, INTERVALS + 1)
    arrived, scheduled, finished = (
        np.histogram(times, edges_s)[0] for times in (arrival_s, first_scheduled_s, finish_s)
    )
    backlog, window_s = int((arrived - scheduled).sum()), last_s - first_s
    grows = t_interval(arrived - scheduled).low > 0
    return Saturation(
        bool(grows and backlog >= LEAST_SHARE * arrived.sum()),
        None,
        backlog,
        backlog / window_s,
        float(arrived.sum()) / window_s,
        float(finished.sum()) / window_s,
    )
