"""What a router keeps from one request to the next, laid out before a run."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from . import state
from .prefix import deepest_path
from .state import CACHES, COPIED, LONGEST_PS, NEVER, NONE, SENT


class RouterMemory(NamedTuple):
    """What the chosen policy needs, and how it sees the instances."""

    options: tuple[float, ...] = ()
    tallies: int = 0
    session: np.ndarray | None = None  # a column each of the workload; -1 or None: none
    client: np.ndarray | None = None
    keeps_log: bool = False
    watches_crowds: bool = False
    requests_every_ps: int = 0  # between refreshes of what the router sees; 0 = always fresh
    tokens_every_ps: int = 0
    kv_every_ps: int = 0
    hits_every_ps: int = 0
    own_index: bool = False  # hits by what it sent, not by what the engines cache
    note_life_ps: int = LONGEST_PS
    note_blocks: int = NEVER  # that it notes for an instance

    @property
    def periods_ps(self) -> tuple[int, int, int, int]:
        return self.requests_every_ps, self.tokens_every_ps, self.kv_every_ps, self.hits_every_ps

    @property
    def prefix_index(self) -> int:
        return SENT if self.own_index else COPIED if self.hits_every_ps else CACHES


def router_arrays(memory: RouterMemory, requests: int, segments: int) -> dict[str, np.ndarray]:
    """The arrays of `Sim` that are the router's alone, those over instances still empty."""
    session = _column(memory.session, requests)
    signal = np.zeros(4, state.SIGNAL)
    signal["every"] = signal["next"] = memory.periods_ps
    return {
        "option": np.array([*memory.options, 0.0]),
        "tally": np.zeros(max(1, memory.tallies), np.int64),
        "session": session,
        "client": _column(memory.client, requests),
        "home": np.full(int(session.max(initial=0)) + 1, NONE, np.int64),
        "log": np.zeros(1024 if memory.keeps_log else 1, state.ROUTED),
        "recent": np.zeros(0, state.RECENT),
        "crowd": np.zeros(segments if memory.watches_crowds else 0, state.CROWD),
        "note": np.zeros(0, state.NOTE),
        "first_note": np.full(segments if memory.prefix_index != CACHES else 0, NONE, np.int64),
        "noted": np.zeros(0, state.NOTED),
        "signal": signal,
    }


def _column(ids: np.ndarray | None, requests: int) -> np.ndarray:
    """Ids numbered in order of appearance; -1 stays."""
    if ids is None:
        return np.full(requests, NONE, np.int64)
    numbered = pd.factorize(ids)[0].astype(np.int64)
    numbered[ids < 0] = NONE
    return numbered


def set_router_limits(cluster: np.ndarray, memory: RouterMemory, seg: np.ndarray) -> None:
    """The router's fields of the cluster record."""
    late = [period for period in memory.periods_ps if period > 0]
    cluster["refresh_at"] = min(late, default=NEVER)
    cluster["index"] = memory.prefix_index
    cluster["note_life"] = memory.note_life_ps
    cluster["note_blocks"] = memory.note_blocks
    cluster["free_note"] = NONE
    cluster["most_new_notes"] = deepest_path(seg) if memory.prefix_index == SENT else 0
