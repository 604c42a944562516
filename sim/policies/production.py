"""Policies of the vLLM production stack [vllm-project/production-stack, src/vllm_router/routers/routing_logic.py]."""

import math

from ..kernel.history import expire, remember
from ..kernel.indicators import hit_tokens, new_tokens
from ..kernel.routing import Option, lowest_score, router
from ..kernel.state import NONE
from .hashing import rendezvous
from .scores import PS_PER_S, best_match, longest_hit


@router(
    "prefixaware",
    # Assumption: 4 characters a token, as OpenAI counts English text.
    options={"chunk_tokens": Option(32, 1, 1e6, "length of the chunks in which a match is counted", "tokens")},
)
def _prefixaware(sim, r):
    """any of those with the longest match (vLLM production stack)

    argmax floor(hit/chunk_tokens); drawn among equals, also where nobody has a match.

    Source: vLLM production stack, routing_logic.py and prefix/hashtrie.py, whose chunks have 128 characters.
    """
    hit_tokens(sim, r)
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = -(sim.hits[sim.accepting[a]] // sim.option[0])
    return lowest_score(sim)


@router(
    "kvaware",
    options={
        "threshold_tokens": Option(2000, 0, 1e9, "most prompt that a match may leave", "tokens"),
        "window_s": Option(60, 0.001, 1e6, "over which requests per second are counted", "s"),
    },
    keeps_log=True,
)
def _kvaware(sim, r):
    """longest match if long enough, else by session or QPS (vLLM production stack)

    argmax hit if max hit >= prompt - threshold_tokens and max hit > 0; else argmax hash(session, instance); without a
    session argmin requests sent in the window.

    Source: vLLM production stack, routing_logic.py.
    """
    expire(sim, int(sim.option[1] * PS_PER_S))
    hit_tokens(sim, r)
    longest = longest_hit(sim)
    if longest > 0 and longest >= sim.req[r].input - sim.option[0]:
        i = best_match(sim)
    elif sim.session[r] != NONE:
        i = rendezvous(sim, sim.session[r], math.inf)
    else:
        for a in range(sim.cluster[0].accepting):
            sim.score[a] = sim.recent[sim.accepting[a]].requests
        i = lowest_score(sim)
    return remember(sim, r, i, new_tokens(sim, r, i))
