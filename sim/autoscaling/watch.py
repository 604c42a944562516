"""The requests as an autoscaler follows them: each is looked at from its arrival to its finish, and not after."""

from collections import deque
from typing import NamedTuple

import numpy as np

from ..kernel.state import HELD, NONE, Sim
from ..operations import PS_PER_S


class _Tick(NamedTuple):
    time_s: float
    arrivals: int
    ttft_s: np.ndarray
    tpot_s: np.ndarray


class RequestWatch:
    """Arrivals and latencies of the last ``window_s``. The cost of an update grows with the requests in the system.

    ``front_end_s`` [groups, requests] is what the front end of each group's server adds to the TTFT of each request.
    """

    def __init__(self, window_s: float, front_end_s: np.ndarray) -> None:
        self.window_s = window_s
        self._front_end_s = front_end_s
        self._ticks: deque[_Tick] = deque()
        self._roots = 0  # that have arrived
        self._present = np.zeros(0, np.int64)  # arrived, not finished
        self._answering = np.zeros(0, bool)  # of those, with a first token
        self._expected = np.zeros(0, np.int64)  # follow-ups whose parents have finished

    def update(self, sim: Sim, now_ps: int) -> None:
        """See what has happened since the last update, up to the events before ``now_ps``."""
        req, now_s = sim.req, now_ps / PS_PER_S
        roots = int(sim.cluster[0]["next_root"])
        due = req["arrival"][self._expected] < now_ps
        arrived = np.concatenate((sim.roots[self._roots : roots], self._expected[due]))
        self._roots, self._expected = roots, self._expected[~due]

        present = np.concatenate((self._present, arrived))
        answering_before = np.concatenate((self._answering, np.zeros(len(arrived), bool)))
        answering, finished = req["first_token"][present] >= 0, req["finish"][present] >= 0
        first, done = present[answering & ~answering_before], present[finished]
        several = done[req["output"][done] > 1]
        gaps_ps = (req["finish"][several] - req["first_token"][several]) / (req["output"][several] - 1)
        self._ticks.append(_Tick(now_s, len(arrived), self._ttft_s(sim, first), gaps_ps / PS_PER_S))
        self._present, self._answering = present[~finished], answering[~finished]
        self._expected = np.concatenate((self._expected, _follow_ups(req, done)))
        while self._ticks[0].time_s <= now_s - self.window_s:
            self._ticks.popleft()

    def _ttft_s(self, sim: Sim, first: np.ndarray) -> np.ndarray:
        req = sim.req
        front_end_s = self._front_end_s[sim.inst["group"][req["instance"][first]], first]
        return (req["first_token"][first] - req["arrival"][first]) / PS_PER_S + front_end_s

    def arrivals_per_s(self, now_s: float) -> float:
        """Recent arrivals; over the time since the start while that is shorter than the window."""
        return sum(tick.arrivals for tick in self._ticks) / min(self.window_s, now_s)

    def held_requests(self, sim: Sim) -> int:
        """Requests that wait at the router because no instance accepts any."""
        return int((sim.req["state"][self._present] == HELD).sum())

    def ttft_s(self, sim: Sim, now_ps: int, target_s: float) -> np.ndarray:
        """Recent TTFTs, and the times for which those that are late already have been waiting."""
        silent = self._present[~self._answering]
        waited_s = (now_ps - sim.req["arrival"][silent]) / PS_PER_S
        return np.concatenate([*(tick.ttft_s for tick in self._ticks), waited_s[waited_s > target_s]])

    def tpot_s(self) -> np.ndarray:
        """Recent TPOTs, of the requests that finished."""
        return np.concatenate([tick.tpot_s for tick in self._ticks])


def _follow_ups(req: np.ndarray, done: np.ndarray) -> np.ndarray:
    """The requests whose parents are ``done``."""
    found = [np.zeros(0, np.int64)]
    children = req["first_child"][done]
    while len(children := children[children != NONE]):
        found.append(children)
        children = req["next_sibling"][children]
    return np.concatenate(found)
