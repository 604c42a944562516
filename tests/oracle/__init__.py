"""A second, deliberately slow simulator: the executable form of docs/engine-rules.md (see README.md)."""

from .cluster import Operation, run
from .engine import Engine, Group
from .request import Outcome, Row
from .routers import View
from .steptime import StepTables

__all__ = ["Engine", "Group", "Operation", "Outcome", "Row", "StepTables", "View", "run"]
