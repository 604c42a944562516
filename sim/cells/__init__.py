"""Many runs at once: each a cell, on other processes or machines, none lost for another's failure (docs/sweeps.md)."""

from .row import row
from .running import Failed, run_all

__all__ = ["Failed", "row", "run_all"]
