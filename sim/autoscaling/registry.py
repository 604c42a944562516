"""The registry of autoscalers. A policy is a class: its fields are its options, `desired` decides.

A run has an instance of its own, so a policy may remember what it saw, in private attributes.
"""

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from ..errors import SimError, unknown_name
from ..scenario import Part, first_problem
from .view import FleetView


class Policy(Part):
    """An autoscaler with its options."""

    needs_targets: ClassVar[bool] = False  # of latencies

    @abstractmethod
    def desired(self, view: FleetView) -> int:
        """How many instances there should be, limits aside."""


AUTOSCALERS: dict[str, type[Policy]] = {}
Kind = TypeVar("Kind", bound=type[Policy])


def autoscaler(name: str) -> Callable[[Kind], Kind]:
    """Register a policy under ``name``; its docstring's first line describes it to users."""

    def register(policy: Kind) -> Kind:
        if name in AUTOSCALERS:
            raise ValueError(f"autoscaler {name!r} exists already; choose another name")
        AUTOSCALERS[name] = policy
        return policy

    return register


def find_autoscaler(name: str, options: Mapping[str, Any]) -> Policy:
    """The policy of that name with these options; raises `SimError` with near misses."""
    if name not in AUTOSCALERS:
        raise SimError(unknown_name("autoscaler.policy", name, AUTOSCALERS))
    try:
        return AUTOSCALERS[name].model_validate(dict(options))
    except ValidationError as error:
        raise SimError(f"autoscaler.options.{first_problem(error, AUTOSCALERS[name])}") from None


def autoscaler_descriptions() -> dict[str, str]:
    """Every policy in a line, its options with their defaults in it."""
    return {
        name: (inspect.getdoc(policy) or "").split("\n")[0]
        + "".join(f"; {option}={field.default:g}" for option, field in policy.model_fields.items())
        for name, policy in sorted(AUTOSCALERS.items())
    }


def for_load(view: FleetView, load: float, tolerance: float) -> int:
    """The instances for a load of so many full ones; as many as are coming if that is right within ``tolerance``.

    The rule of Kubernetes' HorizontalPodAutoscaler, which counts instances that are starting as idle ones.
    """
    if view.coming and abs(load / view.coming - 1) <= tolerance:
        return view.coming
    return math.ceil(load)
