"""Where requests come from: the columnar `Workload`, trace loaders and built-in workloads."""

from workloads.builtin import BUILTINS, generate
from workloads.errors import TraceError, WorkloadError
from workloads.traces import formats, load
from workloads.workload import Workload

__all__ = ["BUILTINS", "TraceError", "Workload", "WorkloadError", "formats", "generate", "load"]
