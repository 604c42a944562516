"""The weighted scorers of llm-d's endpoint picker [llm-d/llm-d-router, pkg/epp]."""

from ..kernel.indicators import hit_tokens, kv_used_fraction, queued_requests
from ..kernel.jit import compiled, inlined
from ..kernel.routing import Option, lowest_score, router
from .scores import longest_hit, score_range

FULL_QUEUE = 128  # llm-d's default threshold of the load-aware scorer


@inlined
def _queue_score(queued, least, most):
    return (most - queued) / (most - least) if most > least else 1.0


@inlined
def _load_aware_score(queued):
    return 0.5 * (1.0 - min(queued, FULL_QUEUE) / FULL_QUEUE)


@compiled
def _age_rank(sim, i):
    """From 1 for the instance that was longest without a request that hits nowhere, to 0 for the last such one."""
    n = sim.cluster[0].accepting
    longer = 0
    for a in range(n):
        if sim.recent[sim.accepting[a]].without_hit < sim.recent[i].without_hit:
            longer += 1
    return 1.0 - longer / max(1, n - 1)


@router(
    "llm-d",
    options={
        "queue": Option(2.0, 0.0, 1e6, "weight of (max - queued)/(max - min)"),
        "kv": Option(2.0, 0.0, 1e6, "weight of 1 - KV used fraction"),
        "prefix": Option(3.0, 0.0, 1e6, "weight of hit/prompt"),
        "load_aware": Option(0.0, 0.0, 1e6, "weight of .5 (1 - min(queued, 128)/128)"),
        "no_hit_lru": Option(
            0.0, 0.0, 1e6, "weight, for a request without any hit, of the time since the last such one"
        ),
    },
)
def _llm_d(sim, r):
    """highest weighted sum of scores of queue, KV use and match (llm-d)

    argmax queue x (max queued - queued)/(max queued - min queued), 1 if all are equal + kv x (1 - KV used fraction) +
    prefix x hit/prompt + load_aware x 0.5 (1 - min(queued, 128)/128) + no_hit_lru x the rank, from 1 to 0, of the time
    since its last request that hit nowhere; the last for such requests alone.

    Source: llm-d, pkg/epp/framework/plugins/scheduling/scorer: queuedepth, kvcacheutilization, prefix, loadaware and
    nohitlru. Instances that never had such a request share the first rank.
    """
    hit_tokens(sim, r)
    option = sim.option
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = queued_requests(sim, sim.accepting[a])
    least, most = score_range(sim)
    hits_nowhere = longest_hit(sim) == 0
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        queued = queued_requests(sim, i)
        score = option[0] * _queue_score(queued, least, most) + option[1] * (1.0 - kv_used_fraction(sim, i))
        score += option[2] * sim.hits[i] / sim.req[r].input + option[3] * _load_aware_score(queued)
        if hits_nowhere and option[4] > 0:
            score += option[4] * _age_rank(sim, i)
        sim.score[a] = -score
    i = lowest_score(sim)
    if hits_nowhere:
        sim.recent[i].without_hit = sim.cluster[0].clock + 1
    return i
