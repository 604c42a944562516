"""`servesim plan`: how many of which GPUs keep an SLO, or how many requests a fleet can take (docs/planning.md)."""

from .cost import CostModel
from .evaluate import Evaluator
from .load import Loads
from .planner import Plan, plan_fleet, plan_rate

__all__ = ["CostModel", "Evaluator", "Loads", "Plan", "plan_fleet", "plan_rate"]
