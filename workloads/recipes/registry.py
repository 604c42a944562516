"""The registry of recipes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from workloads.clients import Client, ClientPool

FOREVER_S = 1e9  # recipes do not change over time


@dataclass(frozen=True)
class Recipe:
    """pool: makes the pool from `rate_per_s`, expected requests per second, and the recipe's other options."""

    name: str
    description: str
    pool: Callable[..., ClientPool]


RECIPES: dict[str, Recipe] = {}


def recipe(name: str, description: str) -> Callable[[Callable[..., list[Client]]], Callable[..., ClientPool]]:
    """Register a function from `rate_per_s` and other options, with annotations and defaults, to clients of one window.

    The function becomes one that gives the pool of these clients.
    """

    def register(clients: Callable[..., list[Client]]) -> Callable[..., ClientPool]:

        @wraps(clients)
        def pool(*args: Any, **options: Any) -> ClientPool:
            return ClientPool.build(name, [0.0, FOREVER_S], clients(*args, **options))

        RECIPES[name] = Recipe(name, description, pool)
        return pool

    return register
