"""Policies that everybody has: no prefix cache in them."""

from ..kernel.history import home_of, settle
from ..kernel.indicators import batch_size, decode_kv_tokens, queued_prefill_tokens, queued_requests, running_requests
from ..kernel.random import below
from ..kernel.routing import lowest_score, router
from ..kernel.state import NONE
from .scores import fewest_requests


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
    """fewest queued + running requests

    argmin queued + running requests: join the shortest queue. Ties of this and all other policies are drawn at random.
    """
    return fewest_requests(sim)


@router("least-tokens")
def _least_tokens(sim, r):
    """fewest tokens to prefill and to read in decode

    argmin queued prefill tokens + KV tokens of the requests in decode.
    """
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = queued_prefill_tokens(sim, i) + decode_kv_tokens(sim, i)
    return lowest_score(sim)


@router("power-of-two")
def _power_of_two(sim, r):
    """fewer queued + running requests of two instances drawn at random

    Source: M. Mitzenmacher, The power of two choices in randomized load balancing, 2001.
    """
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
    """fewest requests, queued ones counting four times (vLLM)

    argmin 4 queued + running requests.

    Source: vLLM's balancer of data-parallel engines [vllm-project/vllm, vllm/v1/engine/core_client.py].
    """
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = 4 * queued_requests(sim, i) + running_requests(sim, i)
    return lowest_score(sim)


@router("session-affinity")
def _session_affinity(sim, r):
    """where the session went last; else fewest queued + running requests

    A session without an instance, or whose instance accepts no more, goes to argmin queued + running requests, and so
    does a request without a session.
    """
    i = home_of(sim, r)
    if i == NONE:
        i = fewest_requests(sim)
    return settle(sim, r, i)
