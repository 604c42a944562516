"""What a workload is like: `describe` it, draw it, and set several side by side."""

from workloads.characterize.compare import compare, comparison_table, plot_comparison
from workloads.characterize.description import Description, describe
from workloads.characterize.page import write_report

__all__ = ["Description", "compare", "comparison_table", "describe", "plot_comparison", "write_report"]
