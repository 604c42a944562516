"""Policies that read only indicators, written a second time in plain Python, choose alike in random scenarios."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import assert_same, examples, outcomes
from hypothesis import given
from oracle.routers import SplitMix64
from oracle.scenarios import Scenario, scenarios
from test_signals import run_late

from sim.kernel.router_memory import RouterMemory
from sim.routing import ClusterView, RoutedRequest

Score = Callable[[ClusterView, int], np.ndarray]
MANY = 2.0**24


def llm_d(view: ClusterView, prompt_tokens: int) -> np.ndarray:
    queued = view.queued_requests[view.healthy]
    spread = queued.max() - queued.min()
    queue = (queued.max() - view.queued_requests) / spread if spread else np.ones(len(view.healthy))
    return -(2.0 * queue + 2.0 * (1.0 - view.kv_used_fraction) + 3.0 * view.hit_tokens / prompt_tokens + 0.0)


def linear(view: ClusterView, prompt_tokens: int) -> np.ndarray:
    most = max(1, view.batch_size[view.healthy].max())
    return 0.7 * view.new_tokens / prompt_tokens + (1.0 - 0.7) * view.batch_size / most


def filtered(view: ClusterView, prompt_tokens: int) -> np.ndarray:
    sizes = view.batch_size[view.healthy]
    if sizes.max() - sizes.min() > 2:
        return view.batch_size
    return view.batch_size - view.hit_tokens * MANY


def cache_aware(view: ClusterView, prompt_tokens: int) -> np.ndarray:
    sizes = view.batch_size[view.healthy]
    unbalanced = sizes.max() - sizes.min() > 3 and sizes.max() > 1.5 * sizes.min()
    if unbalanced or view.hit_tokens[view.healthy].max() <= 0.3 * prompt_tokens:
        return view.batch_size
    return -view.hit_tokens


def prefix_cache(view: ClusterView, prompt_tokens: int) -> np.ndarray:
    sizes = view.batch_size[view.healthy].astype(float)
    if sizes.max() - sizes.min() > 3:
        return view.batch_size
    total = sizes.sum()
    mean = total / len(sizes)
    bound = mean + 1.0 * np.sqrt(max(0.0, (sizes**2).sum() - total * mean) / max(1, len(sizes) - 1))
    return view.batch_size - np.where(view.batch_size <= bound, view.hit_tokens, 0) * MANY


CASES: dict[str, tuple[dict[str, Any], Score]] = {
    "llm-d": ({}, llm_d),
    "linear": ({}, linear),
    "filter": ({"range": 2}, filtered),
    "cache-aware": ({"balance_abs": 3}, cache_aware),
    "least-kv-cache": ({}, lambda view, prompt_tokens: view.kv_used_fraction),
    "prefixaware": ({"chunk_tokens": 3}, lambda view, prompt_tokens: -(view.hit_tokens // 3)),
    "prefix-cache": ({"imbalance": 3}, prefix_cache),
}


def in_python(score: Score, seed: int) -> Callable[[RoutedRequest, ClusterView], int]:
    stream = SplitMix64(seed)

    def route(request: RoutedRequest, view: ClusterView) -> int:
        scores = score(view, request.input_tokens)
        best = np.flatnonzero(view.healthy & (scores == scores[view.healthy].min()))
        return int(best[stream.below(len(best)) if len(best) > 1 else 0])

    return route


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", CASES)
@examples(40)
@given(scenario=scenarios())
def test_a_policy_in_python_chooses_as_the_compiled_one(name: str, late: bool, scenario: Scenario) -> None:
    options, score = CASES[name]
    memory = RouterMemory(requests_every_ps=50, kv_every_ps=20) if late else RouterMemory()
    compiled = run_late(scenario, name, memory, options)
    assert_same(outcomes(run_late(scenario, in_python(score, scenario.router_seed), memory)), outcomes(compiled))
