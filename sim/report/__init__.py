"""Finished runs as a page and as figures (docs/reports.md)."""

from .page import write_figures, write_page
from .runs import Run, read_runs

__all__ = ["Run", "read_runs", "write_figures", "write_page"]
