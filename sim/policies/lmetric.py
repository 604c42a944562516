"""LMetric and the baselines that its authors define (arXiv 2603.15202)."""

from ..kernel.indicators import batch_size, hit_tokens, new_tokens, queued_prefill_tokens
from ..kernel.jit import inlined
from ..kernel.routing import Option, lightest, lowest_score, router
from .scores import MORE_THAN_A_BATCH, batch_size_range, fewest_requests


@inlined
def score_lmetric(sim, r):
    """(queued prefill tokens + new tokens) x (batch size + 1); after `hit_tokens`."""
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = (queued_prefill_tokens(sim, i) + new_tokens(sim, r, i)) * (batch_size(sim, i) + 1)


@router("lmetric", weighs=True)
def _lmetric(sim, r):
    """smallest product of the tokens to prefill and the batch size (LMetric)

    argmin (queued prefill tokens + prompt - hit) x (queued + running requests + 1).

    Source: LMetric, arXiv 2603.15202.
    """
    hit_tokens(sim, r)
    score_lmetric(sim, r)
    return lightest(sim)


@router(
    "linear",
    options={"lambda": Option(0.7, 0.0, 1.0, "weight of the tokens that miss")},
)
def _linear(sim, r):
    """lowest weighted sum of misses and batch size (LMetric's production baseline)

    argmin lambda x (1 - hit/prompt) + (1 - lambda) x batch size/largest batch size. The paper's best lambda is 0.7 for
    chats and 0.55 for API traffic.

    Source: LMetric, arXiv 2603.15202.
    """
    hit_tokens(sim, r)
    _, most = batch_size_range(sim)
    weight = sim.option[0]
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        miss = weight * new_tokens(sim, r, i) / sim.req[r].input
        sim.score[a] = miss + (1.0 - weight) * batch_size(sim, i) / max(1, most)
    return lowest_score(sim)


@router(
    "filter", options={"range": Option(8, 0, 1e9, "difference of batch sizes above which only they count", "requests")}
)
def _filter(sim, r):
    """longest match, unless batch sizes are far apart (AIBrix as in LMetric)

    argmin batch size if max - min > range; else argmax hit, then argmin batch size. The paper varies range from 2 to
    16.

    Source: LMetric, arXiv 2603.15202.
    """
    least, most = batch_size_range(sim)
    if most - least > sim.option[0]:
        return fewest_requests(sim)
    hit_tokens(sim, r)
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        sim.score[a] = batch_size(sim, i) - sim.hits[i] * MORE_THAN_A_BATCH
    return lowest_score(sim)
