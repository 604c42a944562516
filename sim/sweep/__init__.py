"""A scenario over a grid or a list of its fields: a row per run, kept as it finishes (docs/sweeps.md)."""

from .definition import Definition, read_definition
from .plan import Cell, plan
from .sweep import Failure, Sweep, sweep

__all__ = ["Cell", "Definition", "Failure", "Sweep", "plan", "read_definition", "sweep"]
