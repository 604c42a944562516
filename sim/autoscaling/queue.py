"""Scaling by the requests on an instance."""

from typing import Annotated

from pydantic import Field

from ..scenario import Positive
from .registry import Policy, autoscaler, for_load
from .view import FleetView


@autoscaler("queue")
class Queue(Policy):
    """as many instances as hold the mean of waiting and running requests on each at a target"""

    target_requests: Positive = 32.0
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1  # Kubernetes' default

    def desired(self, view: FleetView) -> int:
        """The target divides the requests that there are."""
        requests = (view.waiting_per_instance + view.running_per_instance) * view.ready
        return for_load(view, requests / self.target_requests, self.tolerance)
