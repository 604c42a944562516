"""Policies that everybody has: no prefix cache in them."""

from ..kernel.history import home_of, settle
from ..kernel.indicators import batch_size, decode_kv_tokens, queued_prefill_tokens, queued_requests, running_requests
from ..kernel.jit import inlined
from ..kernel.random import below
from ..kernel.routing import lightest, router, weight_of
from ..kernel.state import NONE
from .scores import fewest_requests


@inlined
def _total_weight(sim):
    total = 0.0
    for a in range(sim.cluster[0].accepting):
        total += weight_of(sim, sim.accepting[a])
    return total


@router("random", weighs=True)
def _random(sim, r):
    """any instance, with a probability in proportion to its weight"""
    n = sim.cluster[0].accepting
    if sim.cluster[0].weighted == 0:
        return sim.accepting[below(sim, n)]
    left = below(sim, 1 << 32) / 2.0**32 * _total_weight(sim)
    for a in range(n):
        left -= weight_of(sim, sim.accepting[a])
        if left < 0:
            return sim.accepting[a]
    return sim.accepting[n - 1]


@inlined
def _most_owed(sim):
    """Smooth weighted round-robin, as nginx has it: no instance gets its share in one burst."""
    most = sim.accepting[0]
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.recent[i].credit += weight_of(sim, i)
        if sim.recent[i].credit > sim.recent[most].credit:
            most = i
    sim.recent[most].credit -= _total_weight(sim)
    return most


@router("round-robin", weighs=True)
def _round_robin(sim, r):
    """each instance in turn, the more often the larger its weight

    With weights that differ the one owed most, where each choice owes every instance its weight.
    """
    cluster = sim.cluster[0]
    if cluster.weighted:
        return _most_owed(sim)
    choice = sim.accepting[cluster.choices % cluster.accepting]
    cluster.choices += 1
    return choice


@router("least-requests", weighs=True)
def _least_requests(sim, r):
    """fewest queued + running requests

    argmin queued + running requests: join the shortest queue. Ties of this and all other policies are drawn at random.
    """
    return fewest_requests(sim)


@router("least-tokens", weighs=True)
def _least_tokens(sim, r):
    """fewest tokens to prefill and to read in decode

    argmin queued prefill tokens + KV tokens of the requests in decode.
    """
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = queued_prefill_tokens(sim, i) + decode_kv_tokens(sim, i)
    return lightest(sim)


@router("power-of-two", weighs=True)
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
    lighter = batch_size(sim, second) / weight_of(sim, second) < batch_size(sim, first) / weight_of(sim, first)
    return second if lighter else first


@router("vllm", weighs=True)
def _vllm(sim, r):
    """fewest requests, queued ones counting four times (vLLM)

    argmin 4 queued + running requests.

    Source: vLLM's balancer of data-parallel engines [vllm-project/vllm, vllm/v1/engine/core_client.py].
    """
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = 4 * queued_requests(sim, i) + running_requests(sim, i)
    return lightest(sim)


@router("session-affinity", weighs=True)
def _session_affinity(sim, r):
    """where the session went last; else fewest queued + running requests

    A session without an instance, or whose instance accepts no more, goes to argmin queued + running requests, and so
    does a request without a session.
    """
    i = home_of(sim, r)
    if i == NONE:
        i = fewest_requests(sim)
    return settle(sim, r, i)
