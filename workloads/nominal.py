"""Arrival times for follow-ups of a closed loop, as they would be on a nominal, never loaded server.

A follow-up's arrival depends on the cluster that serves its parent. To describe a workload, or to write it to a
format that replays recorded times, a stand-in is needed that does not depend on a simulation.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workloads.workload import COLUMNS, Workload

# Illustrative, of the order of an 8B model on one GPU of 2023; not measured.
PREFILL_S_PER_TOKEN = 1e-4
DECODE_S_PER_TOKEN = 0.02


def nominal_arrival_s(
    workload: Workload,
    prefill_s_per_token: float = PREFILL_S_PER_TOKEN,
    decode_s_per_token: float = DECODE_S_PER_TOKEN,
) -> NDArray[np.float64]:
    """When each of the N requests arrives, in seconds, if all are served at once.

    Roots arrive as they say. A follow-up comes `think_s` after its parent's finish, which is the parent's
    arrival, `prefill_s_per_token` for each prompt token that it does not share with an earlier row and
    `decode_s_per_token` for each output token.
    """
    own_tokens = workload.input_tokens - workload.prefix_tokens
    service_s = own_tokens * prefill_s_per_token + workload.output_tokens * decode_s_per_token
    return _arrivals(workload.arrival_s, workload.parent, service_s, workload.think_s)


@njit(cache=True)
def _arrivals(
    arrival_s: NDArray[np.float64],
    parent: NDArray[np.int64],
    service_s: NDArray[np.float64],
    think_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    arrivals = arrival_s.copy()
    for row in range(len(arrivals)):
        if parent[row] >= 0:
            arrivals[row] = arrivals[parent[row]] + service_s[parent[row]] + think_s[row]
    return arrivals


def open_loop(
    workload: Workload,
    prefill_s_per_token: float = PREFILL_S_PER_TOKEN,
    decode_s_per_token: float = DECODE_S_PER_TOKEN,
) -> Workload:
    """The workload with every request at its nominal arrival time and no parents; all else stays."""
    columns = {name: getattr(workload, name) for name in COLUMNS if name not in ("parent", "think_s")}
    columns["arrival_s"] = nominal_arrival_s(workload, prefill_s_per_token, decode_s_per_token)
    return Workload.build(**columns, category_names=workload.category_names)
