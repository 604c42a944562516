"""The requests of a cell, read or drawn once for the cells of a worker that share them."""

from dataclasses import dataclass, field
from functools import lru_cache

from workloads import Workload

from ..scenario import Scenario, WorkloadSource
from ..simulation import load_workload


def seed_matters(source: WorkloadSource) -> bool:
    """Whether other seeds have other requests; those of a trace without jitter are the same for all."""
    return source.trace is None or source.jitter


@dataclass(frozen=True)
class _Wanted:
    digest: str
    scenario: Scenario = field(compare=False)


def shared_requests(digest: str, scenario: Scenario) -> Workload:
    """The scenario's requests; those of the last two ``digest`` that this process was asked for are kept."""
    return _load(_Wanted(digest, scenario))


@lru_cache(maxsize=2)
def _load(wanted: _Wanted) -> Workload:
    return load_workload(wanted.scenario)
