"""LMetric with its guard against hot prefixes (arXiv 2603.15202).

A group of requests with a common prefix, a share x of the window's requests, of which |M| of N instances hold the
prefix, is safe while x / (1 - x) <= |M| / (N - |M|), that is x N <= |M|: spread over M it loads each no more than the
mean. Otherwise multiplying keeps sending it to M, since there it has next to nothing to compute.
"""

from ..kernel.history import expire, remember
from ..kernel.indicators import hit_tokens, new_tokens
from ..kernel.jit import compiled, inlined
from ..kernel.routing import EXCLUDED, Option, lightest, lowest_score, router
from ..kernel.state import NONE
from .lmetric import score_lmetric
from .scores import PS_PER_S

ALARMS, DIVERTED = range(2)


@inlined
def _holders(sim, x):
    """How many accepting instances hold something of segment ``x`` of the request; after `hit_tokens`."""
    above = sim.seg[x].first_block * sim.cluster[0].block_size
    holders = 0
    for a in range(sim.cluster[0].accepting):
        if sim.hits[sim.accepting[a]] > above:
            holders += 1
    return holders


@compiled
def _hot_segment(sim, r):
    """The deepest segment of request ``r`` that is too hot for its holders, and how many they are; else (NONE, 0).
    Every segment's alarm is brought up to date.
    """
    cluster = sim.cluster[0]
    n, total = cluster.accepting, cluster.logged - cluster.expired + 1
    hot, hot_holders = NONE, 0
    x = r
    while x != NONE:
        crowd = sim.crowd[x]
        holders = _holders(sim, x) if (crowd.requests + 1) * n > total else 0
        if holders > 0 and (crowd.requests + 1) * n > holders * total:
            sim.tally[ALARMS] += 1 - crowd.alarmed
            crowd.alarmed = 1
            if hot == NONE:
                hot, hot_holders = x, holders
        else:
            crowd.alarmed = 0
            crowd.streak = 0
        x = sim.seg[x].parent
    return hot, hot_holders


@compiled
def _exclude_holders(sim, x):
    above = sim.seg[x].first_block * sim.cluster[0].block_size
    for a in range(sim.cluster[0].accepting):
        if sim.hits[sim.accepting[a]] > above:
            sim.score[a] = EXCLUDED


@router(
    "lmetric-guarded",
    options={"window_s": Option(60, 0.001, 1e6, "over which a prefix's share of the requests is counted", "s")},
    tallies=("hot_prefix_alarms", "requests_diverted"),
    keeps_log=True,
    watches_crowds=True,
    weighs=True,
)
def _lmetric_guarded(sim, r):
    """lmetric, which leaves out the holders of a prefix that is too hot for them

    A prefix that |M| of n instances hold is too hot while its share x of the window's requests has x/(1 - x) >
    |M|/(n - |M|). Once 2 |M| requests in a row with it have preferred M, M is left out, until the inequality no longer
    holds or one prefers another instance.

    Source: LMetric, arXiv 2603.15202.
    """
    expire(sim, int(sim.option[0] * PS_PER_S))
    hit_tokens(sim, r)
    score_lmetric(sim, r)
    i = lightest(sim)
    x, holders = _hot_segment(sim, r)
    if x != NONE:
        crowd = sim.crowd[x]
        if sim.hits[i] <= sim.seg[x].first_block * sim.cluster[0].block_size:
            crowd.streak = 0
        else:
            crowd.streak += 1
            if crowd.streak > 2 * holders:
                _exclude_holders(sim, x)
                i = lowest_score(sim)
                sim.tally[DIVERTED] += 1
    return remember(sim, r, i, new_tokens(sim, r, i))
