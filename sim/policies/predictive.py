"""Policies that predict times with the step tables the simulation itself runs on: a perfect latency model."""

import math

from ..kernel.indicators import (
    batch_size,
    decode_kv_tokens,
    hit_tokens,
    new_tokens,
    pool_hit_tokens,
    queued_prefill_tokens,
    running_requests,
)
from ..kernel.jit import compiled, inlined
from ..kernel.routing import EXCLUDED, Option, lowest_score, router
from ..kernel.state import REJECT
from ..kernel.steptime import batch_ps, chunk_ps, launch_ps, microbatches
from .scores import PS_PER_S


@inlined
def _decodes(sim, i, room):
    """Decode requests of instance ``i`` that leave ``room`` for more; those still in prefill count as such."""
    group = sim.group[sim.inst[i].group]
    return max(0, min(running_requests(sim, i), group.max_seqs - room, group.max_tokens - room))


@inlined
def _decode_batch_ps(sim, i, tokens, sequences, decodes):
    """A step of ``tokens`` a microbatch without its prefill attention; all context counts as in the window."""
    kv_tokens = decode_kv_tokens(sim, i) if decodes > 0 else 0
    window = sim.group[sim.inst[i].group].window_tokens
    window_kv_tokens = min(kv_tokens, decodes * window) if window > 0 else 0
    return batch_ps(sim, i, tokens, sequences, decodes, kv_tokens, window_kv_tokens, 0)


@compiled
def _prefill_ps(sim, i, tokens, context_tokens, decodes):
    """Time to prefill ``tokens`` after ``context_tokens`` of one request, in chunks beside ``decodes`` others."""
    total = 0
    while tokens > 0:
        chunk = min(tokens, sim.group[sim.inst[i].group].max_tokens - decodes)
        batch_tokens, shares = microbatches(sim, i, chunk, decodes)
        total += _decode_batch_ps(sim, i, batch_tokens, 1 + decodes, decodes)
        total += chunk_ps(sim, i, chunk, context_tokens) // shares + launch_ps(sim, i, 1, decodes)
        context_tokens += chunk
        tokens -= chunk
    return total


@compiled
def _queue_ps(sim, i, decodes):
    """Time to prefill what is queued on instance ``i``, as if it were prompts of a full chunk each."""
    most = min(sim.group[sim.inst[i].group].max_tokens - decodes, sim.pairs.shape[1] - 1)
    tokens = queued_prefill_tokens(sim, i)
    total = _prefill_ps(sim, i, tokens % most, 0, decodes)
    if tokens >= most:
        total += tokens // most * _prefill_ps(sim, i, most, 0, decodes)
    return total


@inlined
def _ttft_ps(sim, r, i, decodes):
    """Predicted time to first token; after `hit_tokens`."""
    return _queue_ps(sim, i, decodes) + _prefill_ps(sim, i, new_tokens(sim, r, i), sim.hits[i], decodes)


@inlined
def _tpot_ps(sim, r, i):
    """Predicted decode iteration with request ``r`` in the batch."""
    decodes = _decodes(sim, i, 1) + 1
    batch_tokens, _ = microbatches(sim, i, 0, decodes)
    own_kv_ps = sim.by_seqs[sim.inst[i].group, decodes].decode_kv * sim.req[r].input
    return _decode_batch_ps(sim, i, batch_tokens, decodes, decodes) + own_kv_ps


@compiled
def _fetch_ps(sim, r, i, pooled):
    """Time to bring what the pool has beyond the hit of instance ``i`` there, and to prefill the rest."""
    blocks = (pooled - sim.hits[i]) // sim.cluster[0].block_size
    block_ps = sim.group[sim.inst[i].group].pool_block_ps
    return blocks * block_ps + _prefill_ps(sim, i, sim.req[r].input - pooled, pooled, 0)


@router(
    "mooncake",
    options={"ttft_slo_s": Option(math.inf, 0.0, math.inf, "predicted TTFT beyond which a request is refused", "s")},
)
def _mooncake(sim, r):
    """shortest predicted time until this prompt is prefilled or fetched (Mooncake)

    argmin predicted prefill time of the queued prefill tokens + min(prefill of prompt - hit, transfer of what the pool
    has beyond the hit + prefill of the rest), with nothing else running. With ``ttft_slo_s`` it refuses the request if
    the least of these is longer.

    Source: Mooncake, arXiv 2407.00079, algorithm 1.
    """
    hit_tokens(sim, r)
    pooled = pool_hit_tokens(sim, r)
    best_ps = math.inf
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        prefill_ps = _prefill_ps(sim, i, new_tokens(sim, r, i), sim.hits[i], 0)
        if pooled > sim.hits[i]:
            prefill_ps = min(prefill_ps, _fetch_ps(sim, r, i, pooled))
        sim.score[a] = _queue_ps(sim, i, 0) + prefill_ps
        best_ps = min(best_ps, sim.score[a])
    if best_ps > sim.option[0] * PS_PER_S:
        return REJECT
    return lowest_score(sim)


@router("simulation")
def _simulation(sim, r):
    """shortest predicted TTFT (llm-d's simulation, as in LMetric)

    argmin predicted TTFT: the queued prefill tokens, then prompt - hit, in chunks beside the running batch.

    Source: LMetric, arXiv 2603.15202, after llm-d's routing by predicted latency.
    """
    hit_tokens(sim, r)
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = _ttft_ps(sim, r, i, _decodes(sim, i, 1))
    return lowest_score(sim)


@router(
    "polyserve",
    # Assumptions: the limits are a service's own; these are what interactive chats are often given.
    options={
        "ttft_slo_s": Option(2.0, 0.0, 1e6, "predicted TTFT that an instance may have", "s"),
        "tpot_slo_s": Option(0.05, 0.0, 1e6, "predicted TPOT that an instance may have", "s"),
    },
)
def _polyserve(sim, r):
    """the fullest that is predicted to meet the SLOs (PolyServe)

    argmax batch size among those with predicted TTFT <= ttft_slo_s and predicted TPOT <= tpot_slo_s; if there are none,
    argmin predicted TPOT.

    Source: PolyServe, arXiv 2507.17769, for one class of requests, as LMetric's authors compare with it.
    """
    hit_tokens(sim, r)
    feasible = False
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        ttft_ps = _ttft_ps(sim, r, i, _decodes(sim, i, 1))
        if ttft_ps <= sim.option[0] * PS_PER_S and _tpot_ps(sim, r, i) <= sim.option[1] * PS_PER_S:
            sim.score[a] = -batch_size(sim, i)
            feasible = True
        else:
            sim.score[a] = EXCLUDED
    if not feasible:
        for a in range(sim.cluster[0].accepting):
            sim.score[a] = _tpot_ps(sim, r, sim.accepting[a])
    return lowest_score(sim)
