"""Clusters for examples worked out by hand: blocks of two tokens, every step takes 10 ps."""

from collections.abc import Callable, Sequence

from harness import flat_steps, kernel_requests
from oracle import Row

from sim.cluster import Cluster
from sim.kernel.build import Engine, Group
from sim.kernel.steptime import StepTable
from sim.routing import ClusterView, RoutedRequest

# Synchronous: the examples are easier to follow, and nothing in them is about scheduling.
ENGINE = Engine(num_blocks=100, block_size=2, max_num_seqs=8, max_num_batched_tokens=60, async_scheduling=False)
TEN = StepTable(**vars(flat_steps(10)))  # every step takes 10 ps


def cluster_of(
    rows: Sequence[Row],
    instances: int = 1,
    router: str | Callable[[RoutedRequest, ClusterView], int] = "round-robin",
    engine: Engine = ENGINE,
    steps: StepTable = TEN,
) -> Cluster:
    return Cluster(kernel_requests(rows), [Group(engine, steps, instances)], router)
