"""The worked example of docs/how-it-works.md: three requests that share a prefix, on one instance.

A step takes 8 ms, 1 ms a token and 0.1 ms a KV token of the decode batch: numbers to follow by hand, no real GPU.
"""

from typing import NamedTuple

import numpy as np

from sim.cluster import Cluster
from sim.kernel.advance import advance
from sim.kernel.build import Engine, Group, Requests
from sim.kernel.indirect import router_address
from sim.kernel.state import DECODE, NEVER, NONE, PAUSE, PREFILL, Sim
from sim.kernel.steptime import StepTable, jump_ps
from sim.routing import find_router

NAMES = ("A", "B", "C")
SEGMENTS = ("tail of A", "tail of B", "tail of C", "A, B, C", "B, C")  # in the kernel's order
PS_PER_MS = 10**9
MOST_TOKENS = 64  # in one step

REQUESTS = Requests(
    arrival_ps=np.array([0, 0, 70]) * PS_PER_MS,
    input_tokens=np.array([10, 17, 16]),
    output_tokens=np.array([12, 9, 6]),
    priority=np.zeros(3, np.int64),
    parent=np.full(3, NONE),
    think_ps=np.zeros(3, np.int64),
    prefix_request=np.array([NONE, 0, 1]),
    prefix_tokens=np.array([0, 8, 14]),
    reuse_class=np.zeros(3, np.int64),
    itl_class=np.zeros(3, np.int64),
)
ENGINE = Engine(num_blocks=17, block_size=4, max_num_seqs=8, max_num_batched_tokens=MOST_TOKENS, async_scheduling=False)
STEPS = StepTable(
    linear_ps=np.arange(MOST_TOKENS + 1) * PS_PER_MS,
    sequence_ps=np.full(ENGINE.max_num_seqs + 1, 8 * PS_PER_MS),
    prefill_ps=np.zeros(MOST_TOKENS + 1, np.int64),
    prefill_pair=np.zeros(MOST_TOKENS + 1, np.int64),
    pairs=np.zeros(MOST_TOKENS + 1, np.int64),
    decode_ps=np.zeros(ENGINE.max_num_seqs + 1, np.int64),
    decode_kv_ps=np.full(ENGINE.max_num_seqs + 1, PS_PER_MS // 10),
    decode_window_ps=np.zeros(ENGINE.max_num_seqs + 1, np.int64),
    decode_generated_ps=np.zeros(ENGINE.max_num_seqs + 1, np.int64),
    window_tokens=0,
    prefill_step_ps=0,
    mixed_step_ps=0,
)


class Jump(NamedTuple):
    """What the instance did between two of its events; times in ms."""

    start_ms: float
    step_ms: float
    slope_ms: float
    planned: int  # iterations, when it started
    iterations: int  # when it ended
    first_iteration: int
    prefilling: str  # names of the requests
    decoding: str
    residue: tuple[int, ...]  # decode requests by residue class

    @property
    def boundaries_ms(self) -> list[float]:
        """Where its iterations end."""
        return [self.boundary_ms(k) for k in range(1, self.iterations + 1)]

    def boundary_ms(self, iterations: int) -> float:
        return self.start_ms + jump_ps.py_func(self.step_ms, self.slope_ms, iterations)


def cluster() -> Cluster:
    return Cluster(REQUESTS, [Group(ENGINE, STEPS, 1)], router="round-robin")


def state_at(time_ms: float) -> Sim:
    """The kernel's state after every event up to and including ``time_ms``."""
    sim = cluster().state
    advance(sim, int(time_ms * PS_PER_MS), router_address(find_router("round-robin")[0].function), NEVER // 2)
    return sim


def run() -> tuple[Sim, list[Jump]]:
    """The final state, and every jump of the instance, seen by running the kernel one event at a time."""
    sim = cluster().state
    router = router_address(find_router("round-robin")[0].function)
    inst = sim.inst[0]
    jumps: list[Jump] = []
    flying: Jump | None = None
    while advance(sim, NEVER - 1, router, 1) == PAUSE:
        planned = int(inst["planned"])
        if flying is not None and planned == 0:
            jumps.append(flying)
            flying = None
        elif flying is None and planned > 0:
            flying = _jump_in_flight(sim)
        elif flying is not None:
            flying = flying._replace(iterations=planned)
    return sim, jumps


def _jump_in_flight(sim: Sim) -> Jump:
    inst = sim.inst[0]
    return Jump(
        start_ms=int(inst["start"]) / PS_PER_MS,
        step_ms=int(inst["step_ps"]) / PS_PER_MS,
        slope_ms=int(inst["slope_ps"]) / PS_PER_MS,
        planned=int(inst["planned"]),
        iterations=int(inst["planned"]),
        first_iteration=int(inst["iteration"]),
        prefilling=_named(sim, PREFILL),
        decoding=_named(sim, DECODE),
        residue=tuple(map(int, sim.residue[0])),
    )


def _named(sim: Sim, state: int) -> str:
    return "".join(NAMES[r] for r in np.flatnonzero(sim.req["state"] == state))
