"""Scaling by how busy the instances are."""

from typing import Annotated

from pydantic import Field

from .registry import Policy, autoscaler, for_load
from .view import FleetView

Share = Annotated[float, Field(gt=0, le=1)]


@autoscaler("utilisation")
class Utilisation(Policy):
    """as many instances as hold busy time and KV cache at target fractions, whichever asks for more"""

    target_busy_fraction: Share = 0.8
    target_kv_fraction: Share = 0.7
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1  # Kubernetes' default

    def desired(self, view: FleetView) -> int:
        """Each fraction over its target says by how much the ready instances are too few."""
        ratio = max(view.busy_fraction / self.target_busy_fraction, view.kv_used_fraction / self.target_kv_fraction)
        return for_load(view, ratio * view.ready, self.tolerance)
