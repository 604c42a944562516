"""The KV router of NVIDIA Dynamo [ai-dynamo/dynamo, lib/kv-router]."""

import math

from ..kernel.indicators import decode_kv_tokens, hit_tokens, new_tokens, queued_prefill_tokens
from ..kernel.jit import compiled
from ..kernel.random import below
from ..kernel.routing import Option, lowest_score, router, weigh
from .scores import score_range


@compiled
def _draw_softmax(sim, temperature):
    """An instance with probability proportional to exp(-score / (max - min) / temperature)."""
    n = sim.cluster[0].accepting
    lowest, highest = score_range(sim)
    spread = highest - lowest if highest > lowest else 1.0
    total = 0.0
    for a in range(n):
        sim.score[a] = math.exp((lowest - sim.score[a]) / spread / temperature)
        total += sim.score[a]
    left = below(sim, 1 << 32) / 2.0**32 * total
    for a in range(n):
        left -= sim.score[a]
        if left < 0:
            return sim.accepting[a]
    return sim.accepting[n - 1]


@router(
    "dynamo",
    options={
        "overlap_weight": Option(1.0, 0.0, 1e6, "of the prefill term, w"),
        "temperature": Option(0.0, 0.0, 1e6, "of the softmax that draws the instance; 0: the lowest cost"),
    },
    weighs=True,
)
def _dynamo(sim, r):
    """fewest blocks to prefill and to read in decode (Dynamo)

    argmin cost = overlap_weight x (queued prefill + prompt - hit)/block size + decode KV tokens/block size. With a
    temperature T > 0 drawn with probability ~ exp(-cost/((max - min) T)).

    Source: Dynamo, lib/kv-router/src/scheduling/selector/default.rs. Its decode blocks are all that its requests will
    hold, this one among them, while requests in prefill count in the first term only here.
    """
    hit_tokens(sim, r)
    size = sim.cluster[0].block_size
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        prefill_blocks = (queued_prefill_tokens(sim, i) + new_tokens(sim, r, i)) / size
        sim.score[a] = sim.option[0] * prefill_blocks + decode_kv_tokens(sim, i) / size
    weigh(sim)
    if sim.option[1] > 0:
        return _draw_softmax(sim, sim.option[1])
    return lowest_score(sim)
