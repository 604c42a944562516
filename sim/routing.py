"""Routing policies by name, and what a router written in Python is given.

A compiled policy is one function in `sim/policies/` (or in a user's own module, with the same decorator). A Python
router is any callable ``(RoutedRequest, ClusterView) -> instance index``, or REJECT to refuse the request; it runs
between two calls of the kernel.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import policies  # noqa: F401 - registers them
from .errors import SimError, unknown_name
from .kernel.routing import ROUTERS, Router
from .score_language import FUNCTIONS, INDICATORS, score_router


class RoutedRequest(NamedTuple):
    """What a router may know of an arriving request. The output length is not among it."""

    id: int
    arrival_s: float
    input_tokens: int
    priority: int
    client: int
    session: int
    turn: int
    category: str


class ClusterView(NamedTuple):
    """What a router may know of the instances at this instant: one array entry an instance, by index
    (docs/engine-rules.md, Routing); and of the pool.
    """

    queued_requests: np.ndarray  # int64: waiting
    running_requests: np.ndarray  # int64
    batch_size: np.ndarray  # int64: both
    queued_prefill_tokens: np.ndarray  # int64: waiting or not yet prefilled
    hit_tokens: np.ndarray  # int64: what the prefix cache would give this request, host memory included
    pool_hit_tokens: int  # what the cluster's pool has of it, for every instance alike
    new_tokens: np.ndarray  # int64: its prompt tokens beyond that
    decode_kv_tokens: np.ndarray  # int64: KV tokens of the requests in decode
    kv_used_fraction: np.ndarray  # float64: blocks in use / usable blocks
    weight: np.ndarray  # float64: of the instance's group
    healthy: np.ndarray  # bool: accepts requests


PythonRouter = Callable[[RoutedRequest, ClusterView], int]

SCORE = "score"  # the policy that a formula makes
FORMULA = Router(
    SCORE,
    "lowest value of a formula of your own",
    None,
    details=(
        "For example: score: (queued_prefill + new_tokens) * (batch + 1)",
        f"Indicators: {', '.join(INDICATORS)}. Functions: {', '.join(FUNCTIONS)}. Operators: as in Python.",
    ),
)


def router_descriptions() -> dict[str, str]:
    """Every policy in a line, its options with their defaults in it."""
    return {router.name: _in_a_line(router) for router in (*map(ROUTERS.__getitem__, sorted(ROUTERS)), FORMULA)}


def _in_a_line(router: Router) -> str:
    defaults = " ".join(f"{option}={spec.default:g}" for option, spec in router.options.items())
    return f"{router.description} [{defaults}]" if defaults else router.description


def describe_router(name: str) -> Router:
    """The policy of that name; of ``score`` what goes for all formulas. Raises `SimError` with near misses."""
    if name == SCORE:
        return FORMULA
    if name not in ROUTERS:
        raise SimError(unknown_name("router", name, [*ROUTERS, SCORE]))
    return ROUTERS[name]


def find_router(name: str, options: Mapping[str, Any] | None = None) -> tuple[Router, tuple[float, ...]]:
    """The compiled policy of that name and the values of its options, in its order; raises `SimError` with near misses.

    The policy ``score`` has one option, ``formula`` (docs/routers.md).
    """
    options = options or {}
    if name == SCORE:
        return _formula_router(options), ()
    router = describe_router(name)
    for option in options:
        if option not in router.options:
            if not router.options:
                raise SimError(f"router_options.{option}: the router {name!r} has no options; leave it out")
            raise SimError(unknown_name(f"router_options of {name}", option, router.options))
    return router, tuple(_checked(router, option, options) for option in router.options)


def _checked(router: Router, option: str, options: Mapping[str, Any]) -> float:
    spec = router.options[option]
    value = options.get(option, spec.default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not spec.low <= value <= spec.high:
        raise SimError(
            f"router_options.{option}: {value!r} is no number from {spec.low:g} to {spec.high:g}, "
            f"as {router.name} needs"
        )
    return float(value)


def _formula_router(options: Mapping[str, Any]) -> Router:
    for option in options:
        if option != "formula":
            raise SimError(unknown_name(f"router_options of {SCORE}", option, ["formula"]))
    formula = options.get("formula")
    if not isinstance(formula, str):
        raise SimError(
            "router_options.formula: is missing or no text; for example (queued_prefill + new_tokens) * batch"
        )
    return score_router(formula)


def parse_router(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of ``NAME``, ``NAME:OPTION=VALUE,OPTION=VALUE`` or ``score: FORMULA``."""
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name == SCORE:
        return name, {"formula": rest}
    options: dict[str, Any] = {}
    for assigned in rest.split(",") if colon else ():
        option, equals, value = (part.strip() for part in assigned.partition("="))
        if not option or not equals or option in options:
            raise SimError(f"--router {text}: expected NAME:OPTION=VALUE,OPTION=VALUE with each option once")
        try:
            options[option] = float(value)
        except ValueError:
            raise SimError(f"--router {text}: {option}: {value!r} is no number") from None
    return name, options


def router_label(name: str, options: Mapping[str, Any]) -> str:
    """As `parse_router` reads it."""
    if name == SCORE:
        return f"{name}: {options['formula']}"
    given = ",".join(f"{option}={value:g}" for option, value in options.items())
    return f"{name}:{given}" if given else name
