"""Compiled routing policies. A policy is one function ``(sim, r) -> instance``, put on the list by `router`.

It may read the instances (`indicators.py`) and must choose among ``sim.accepting[:sim.cluster[0].accepting]``, which
is never empty.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .indicators import batch_size, decode_kv_tokens, hit_tokens
from .jit import compiled, inlined
from .random import below


@dataclass(frozen=True)
class Router:
    """A compiled policy: its name, what it does in a line, and its function."""

    name: str
    description: str
    function: Any


ROUTERS: dict[str, Router] = {}


def router(name: str) -> Callable[[Callable], Any]:
    """Compile a policy and register it under ``name``; its docstring's first line describes it to users."""

    def register(function: Callable) -> Any:
        if name in ROUTERS:
            raise ValueError(f"router {name!r} exists already; choose another name")
        description = (inspect.getdoc(function) or "").split("\n")[0]
        ROUTERS[name] = Router(name, description, compiled(function))
        return ROUTERS[name].function

    return register


@inlined
def lowest_score(sim):
    """The accepting instance with the lowest ``sim.score`` (indexed like ``sim.accepting``); ties are drawn from the
    seeded stream.
    """
    n = sim.cluster[0].accepting
    score = sim.score
    best, ties = 0, 1
    for a in range(1, n):
        if score[a] < score[best]:
            best, ties = a, 1
        elif score[a] == score[best]:
            ties += 1
    if ties > 1:
        lowest = score[best]
        skip = below(sim, ties)
        while skip > 0:
            best += 1
            if score[best] == lowest:
                skip -= 1
    return sim.accepting[best]


@router("random")
def _random(sim, r):
    """any instance, uniformly"""
    return sim.accepting[below(sim, sim.cluster[0].accepting)]


@router("round-robin")
def _round_robin(sim, r):
    """each instance in turn"""
    cluster = sim.cluster[0]
    choice = sim.accepting[cluster.choices % cluster.accepting]
    cluster.choices += 1
    return choice


@router("least-requests")
def _least_requests(sim, r):
    """argmin queued + running requests (join the shortest queue)"""
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = batch_size(sim, sim.accepting[a])
    return lowest_score(sim)


@router("least-tokens")
def _least_tokens(sim, r):
    """argmin queued prefill tokens + decode KV tokens"""
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = sim.inst[i].queued_prefill + decode_kv_tokens(sim, i)
    return lowest_score(sim)


@router("power-of-two")
def _power_of_two(sim, r):
    """the one with fewer queued + running requests of two drawn at random (Mitzenmacher 2001)"""
    n = sim.cluster[0].accepting
    if n == 1:
        return sim.accepting[0]
    a = below(sim, n)
    b = below(sim, n - 1)
    if b >= a:
        b += 1
    first, second = sim.accepting[a], sim.accepting[b]
    return second if batch_size(sim, second) < batch_size(sim, first) else first


@router("vllm")
def _vllm(sim, r):
    """argmin 4 queued + running requests (vLLM's data-parallel balancer)"""
    for a in range(sim.cluster[0].accepting):
        inst = sim.inst[sim.accepting[a]]
        sim.score[a] = 4 * inst.waiting + inst.running
    return lowest_score(sim)


@router("lmetric")
def _lmetric(sim, r):
    """argmin (queued prefill tokens + prompt tokens - hit tokens) x (batch size + 1) (LMetric, arXiv 2603.15202)"""
    hit_tokens(sim, r)
    prompt = sim.req[r].input
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = (sim.inst[i].queued_prefill + prompt - sim.hits[i]) * (batch_size(sim, i) + 1)
    return lowest_score(sim)
