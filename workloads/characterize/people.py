"""Who asks: the skew among clients, and how conversations go."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LORENZ_POINTS = 201


@dataclass(frozen=True)
class Clients:
    """Of the requests that have a client.

    lorenz_clients, lorenz_requests: the smallest clients, as a share of all, make this share of the requests.
    top_share: by k, the share of requests of the k largest clients. for_90_percent: how many of the largest
    clients carry 90 % of the requests.
    """

    count: int
    gini: float
    top_share: dict[int, float]
    for_90_percent: int
    lorenz_clients: NDArray[np.float64]
    lorenz_requests: NDArray[np.float64]


@dataclass(frozen=True)
class Conversations:
    """Of the requests that have a session.

    turns, sessions: how many sessions have how many requests. next_turn: by turn from 1 on, the share of the
    sessions that got there and went on. between_turns_s: quantiles of the time from one arrival to the next of
    the session.
    """

    count: int
    mean_turns: float
    multi_turn_share: float
    turns: NDArray[np.int64]
    sessions: NDArray[np.int64]
    next_turn: NDArray[np.float64]
    between_turns_s: dict[str, float]


def describe_clients(client: NDArray[np.int32]) -> Clients | None:
    """`client` of each request, -1 for none; None if nobody has one."""
    requests = np.sort(np.unique(client[client >= 0], return_counts=True)[1])
    if len(requests) == 0:
        return None
    share = np.concatenate((np.zeros(1), np.cumsum(requests) / requests.sum()))
    poorest = np.linspace(0, 1, len(share))
    descending = np.cumsum(requests[::-1]) / requests.sum()
    points = np.linspace(0, 1, min(LORENZ_POINTS, len(share)))
    return Clients(
        count=len(requests),
        gini=float(1 - 2 * np.trapezoid(share, poorest)),
        top_share={k: float(descending[min(k, len(requests)) - 1]) for k in (1, 10, 100)},
        for_90_percent=int(np.searchsorted(descending, 0.9 - 1e-12)) + 1,
        lorenz_clients=points,
        lorenz_requests=np.interp(points, poorest, share),
    )


def describe_conversations(session: NDArray[np.int64], arrival_s: NDArray[np.float64]) -> Conversations | None:
    """`session` of each request, -1 for none, and its time in seconds; None if nobody has one."""
    has = session >= 0
    if not has.any():
        return None
    turns_of = np.unique(session[has], return_counts=True)[1]
    turns, sessions = np.unique(turns_of, return_counts=True)
    reached = np.array([(turns_of >= turn).sum() for turn in range(1, min(int(turns[-1]), 50) + 1)])
    order = np.lexsort((arrival_s[has], session[has]))
    same = np.diff(session[has][order]) == 0
    between = np.diff(arrival_s[has][order])[same]
    quantiles = {f"p{q}": float(np.quantile(between, q / 100)) for q in (10, 50, 90, 99)} if len(between) else {}
    return Conversations(
        count=len(turns_of),
        mean_turns=float(turns_of.mean()),
        multi_turn_share=float((turns_of > 1).mean()),
        turns=turns,
        sessions=sessions,
        next_turn=reached[1:] / reached[:-1],
        between_turns_s=quantiles,
    )
