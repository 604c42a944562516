"""ServeSim: a discrete-event simulator of GPU clusters that serve language models."""

from .cluster import Cluster, Progress
from .errors import SimError
from .kernel.state import REJECT
from .operations import Operation
from .result import Result
from .routing import ClusterView, RoutedRequest
from .scenario import Scenario, make_scenario, read_scenario
from .simulation import load_workload, simulate

__all__ = [
    "REJECT",
    "Cluster",
    "ClusterView",
    "Operation",
    "Progress",
    "Result",
    "RoutedRequest",
    "Scenario",
    "SimError",
    "load_workload",
    "make_scenario",
    "read_scenario",
    "simulate",
]
