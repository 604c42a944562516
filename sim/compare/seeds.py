"""Common random numbers: the requests of a seed are drawn once, and every policy serves those."""

from collections.abc import Sequence

from workloads import Workload

from ..cells.requests import seed_matters
from ..scenario import Scenario, WorkloadSource
from ..simulation import load_workload


def what_seeds_vary(source: WorkloadSource) -> str:
    """What differs from one seed to the next, to be told beside every interval."""
    if not seed_matters(source):
        return "seeds vary the router's ties only"
    if source.trace is None:
        return "seeds vary the workload and the router's ties"
    return "seeds vary the jitter of the trace's equal timestamps and the router's ties"


def load_by_seed(scenario: Scenario, seeds: Sequence[int]) -> dict[int, Workload]:
    """The scenario's requests for each seed; one object for all of them where they are a trace's without jitter."""
    if not seed_matters(scenario.workload):
        return dict.fromkeys(seeds, load_workload(scenario))
    return {seed: load_workload(scenario.model_copy(update={"seed": seed})) for seed in seeds}
