"""Where requests come from: the columnar `Workload`, trace loaders and built-in workloads."""

from workloads.builtin import shared_prefix_chat
from workloads.errors import TraceError, WorkloadError
from workloads.traces import formats, load
from workloads.workload import Workload

__all__ = ["TraceError", "Workload", "WorkloadError", "formats", "load", "shared_prefix_chat"]
