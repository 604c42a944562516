"""Routing policies by name, and what a router written in Python is given.

A compiled policy is one function in `sim/kernel/routing.py` (or in a user's own module, with the same decorator). A
Python router is any callable ``(RoutedRequest, ClusterView) -> instance index``; it runs between two calls of the
kernel.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .errors import SimError, unknown_name
from .kernel.routing import ROUTERS, Router


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
    (docs/engine-rules.md, Routing).
    """

    queued_requests: np.ndarray  # int64: waiting
    running_requests: np.ndarray  # int64
    batch_size: np.ndarray  # int64: both
    queued_prefill_tokens: np.ndarray  # int64: waiting or not yet prefilled
    hit_tokens: np.ndarray  # int64: what the prefix cache would give this request
    new_tokens: np.ndarray  # int64: its prompt tokens beyond that
    decode_kv_tokens: np.ndarray  # int64: KV tokens of the requests in decode
    kv_used_fraction: np.ndarray  # float64: blocks in use / usable blocks
    healthy: np.ndarray  # bool: accepts requests


PythonRouter = Callable[[RoutedRequest, ClusterView], int]


def find_router(name: str) -> Router:
    """The compiled policy of that name; raises `SimError` with near misses."""
    if name not in ROUTERS:
        raise SimError(unknown_name("router", name, ROUTERS))
    return ROUTERS[name]
