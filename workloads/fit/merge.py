"""One table of lengths for a whole pool: those that are alike are kept once."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from workloads.clients import NO_LENGTHS, ClientPool
from workloads.lengths import Lengths
from workloads.pools.fields import RATIO_DIGITS, laws_of, lengths_of
from workloads.pools.quantile_table import FEWEST_POINTS, LEVELS, MOST_POINTS, quantile_table

ALL_POINTS = 20_000  # of the tables of a field, about: a pool with few lengths can afford finer ones
LEAST_MEAN_POINTS = 20  # of the table of a law with the mean number of requests
_COMPARED = LEVELS[::20].clip(1e-6, 1 - 1e-6)
_RATIO_OFFSET = 0.1  # keeps logs of ratios near 0 from counting for too much; a token does for counts


def tabulated(lengths: Lengths, points: float) -> Lengths:
    """The same lengths with quantile tables of about so many points as laws."""
    points = int(np.clip(points, FEWEST_POINTS, MOST_POINTS))
    laws = {
        name: quantile_table(law, points, RATIO_DIGITS if name == "reason_ratio" else 0)
        for name, law in laws_of(lengths).items()
    }
    return lengths_of(laws, lengths.correlation)


def merged(pool: ClientPool, tolerance: float) -> ClientPool:
    """The pool with all clients sharing one tuple of lengths, tabulated.

    Lengths are taken in order of their requests, the most first. Each is replaced by the nearest taken before if, for
    each of its laws, the mean over levels of |log(quantile / quantile)| is at most `tolerance`; otherwise it is kept.
    Where they have more requests than the mean, `tolerance` is smaller by that ratio, and tables have more points:
    what a busy client sends decides the quantiles of the whole.
    """
    every, index = _every_lengths(pool)
    requests = np.zeros(len(every))
    expected = pool.client_rates_per_s * np.diff(pool.edges_s)
    used = index != NO_LENGTHS
    np.add.at(requests, index[used], expected[used])

    mean_requests = requests[requests > 0].mean()
    mean_points = max(LEAST_MEAN_POINTS, ALL_POINTS / np.count_nonzero(requests))
    kept: list[Lengths] = []
    groups: dict[tuple[object, ...], _Group] = {}  # only like is compared with like: the same fields and correlation
    replaced_by = np.full(len(every) + 1, NO_LENGTHS)
    for number in np.argsort(-requests, kind="stable"):
        if requests[number] == 0:
            continue
        lengths = every[number]
        features = _features(lengths)
        group = groups.setdefault((*laws_of(lengths), lengths.correlation), _Group(features.shape))
        nearest, distance = group.nearest(features)
        weight = requests[number] / mean_requests
        if distance > tolerance / max(weight, 1.0):
            nearest = len(kept)
            kept.append(tabulated(lengths, mean_points * weight**0.5))
            group.add(features, nearest)
        replaced_by[number] = nearest
    shared = tuple(kept)
    clients = [
        replace(client, lengths=shared, lengths_of_window=replaced_by[own].astype(np.int32))
        for client, own in zip(pool.clients, index, strict=True)
    ]
    return replace(pool, clients=tuple(clients))


class _Group:
    """Features of the lengths kept so far, in an array that grows."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._features = np.empty((16, *shape), np.float32)
        self._numbers: list[int] = []

    def nearest(self, features: NDArray[np.float32]) -> tuple[int, float]:
        """Number and distance of the nearest; infinitely far where there is none."""
        if not self._numbers:
            return NO_LENGTHS, np.inf
        distance = np.abs(self._features[: len(self._numbers)] - features).mean(axis=2).max(axis=1)
        return self._numbers[int(distance.argmin())], float(distance.min())

    def add(self, features: NDArray[np.float32], number: int) -> None:
        if len(self._numbers) == len(self._features):
            self._features = np.concatenate([self._features, np.empty_like(self._features)])
        self._features[len(self._numbers)] = features
        self._numbers.append(number)


def _features(lengths: Lengths) -> NDArray[np.float32]:
    """(laws, levels) logs of quantiles."""
    rows = [
        np.log(law.quantile(_COMPARED) + (_RATIO_OFFSET if name == "reason_ratio" else 1))
        for name, law in laws_of(lengths).items()
    ]
    return np.array(rows, np.float32)


def _every_lengths(pool: ClientPool) -> tuple[list[Lengths], NDArray[np.int64]]:
    """All different lengths, and (C, W) which of them holds for each client and window."""
    number: dict[int, int] = {}
    every: list[Lengths] = []
    index = np.full(pool.client_rates_per_s.shape, NO_LENGTHS, np.int64)
    for row, client in enumerate(pool.clients):
        own = np.full(len(client.lengths) + 1, NO_LENGTHS)
        for i, lengths in enumerate(client.lengths):
            if id(lengths) not in number:
                number[id(lengths)] = len(every)
                every.append(lengths)
            own[i] = number[id(lengths)]
        index[row] = np.where(client.arrivals.rate_per_s > 0, own[client.lengths_of_window], NO_LENGTHS)
    return every, index
