"""Preble's exploitation and exploration (arXiv 2407.00023), as LMetric's authors compare with it."""

from ..kernel.history import expire, remember
from ..kernel.indicators import hit_tokens, new_tokens, queued_prefill_tokens
from ..kernel.routing import EXCLUDED, Option, lowest_score, router
from .scores import PS_PER_S, longest_hit

WINDOW = Option(180, 0.001, 1e6, "over which what an instance was sent counts", "s")


@router(
    "preble",
    options={
        "window_s": WINDOW,
        # Assumption: the decoding of an answer of some 250 tokens slows the others down as much as so much prefill.
        "request_tokens": Option(250, 0.0, 1e9, "prefill that a request's decoding is worth", "tokens"),
    },
    keeps_log=True,
)
def _preble(sim, r):
    """longest match if it is most of the prompt, else the lowest cost of late (Preble)

    If max hit > prompt/2: argmin queued prefill tokens among the longest matches. Else argmin new prefill tokens sent
    in the window, this request's among them, + request_tokens x requests sent in it.

    Source: Preble, arXiv 2407.00023 [WukLab/preble, multi_node/global_scheduler.py], in the form that LMetric's authors
    compare with (arXiv 2603.15202): no costs of evictions, no rebalancing of prefixes.
    """
    expire(sim, int(sim.option[0] * PS_PER_S))
    hit_tokens(sim, r)
    longest = longest_hit(sim)
    matches = 2 * longest > sim.req[r].input
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        if not matches:
            recent = sim.recent[i]
            sim.score[a] = recent.new_tokens + new_tokens(sim, r, i) + sim.option[1] * recent.requests
        else:
            sim.score[a] = queued_prefill_tokens(sim, i) if sim.hits[i] == longest else EXCLUDED
    i = lowest_score(sim)
    return remember(sim, r, i, new_tokens(sim, r, i))
