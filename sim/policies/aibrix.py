"""Policies of the AIBrix gateway [vllm-project/aibrix, pkg/plugins/gateway/algorithms]."""

import math

from ..kernel.history import expire, remember
from ..kernel.indicators import batch_size, hit_tokens, kv_used_fraction, new_tokens, running_requests
from ..kernel.jit import compiled, inlined
from ..kernel.random import below
from ..kernel.routing import EXCLUDED, Option, lowest_score, router
from .preble import WINDOW
from .scores import MORE_THAN_A_BATCH, PS_PER_S, batch_size_range, fewest_requests, is_finished, longest_hit

# Assumption: AIBrix asks Prometheus for the mean of a day. Every choice here reads its whole window.
METRIC_WINDOW = Option(60, 0.001, 1e6, "over which requests count", "s")
# AIBrix's answer of 45 tokens at 0.15 s each, in prompt tokens at the 0.271 ms / 0.9 of its model of a V100.
DECODING_TOKENS = round(45 * 0.15 / (0.27106428e-3 / 0.9))
REQUESTS, PROMPT_TOKENS, OUTPUT_TOKENS = range(3)


@router(
    "prefix-cache",
    options={
        "imbalance": Option(8, 0, 1e9, "difference above which only requests count", "requests"),
        "deviations": Option(1.0, 0.0, 1e6, "standard deviations above the mean that the best match may have"),
    },
)
def _prefix_cache(sim, r):
    """longest match that is not overloaded, unless loads are far apart (AIBrix)

    argmin requests if max - min > imbalance; else argmax hit, then argmin requests, among those that hit anything and
    have requests <= mean + deviations x sample standard deviation; if there are none, argmin requests.

    Source: AIBrix, prefix_cache.go. Of late it calls loads unbalanced only if also max > 2 (mean + 1), and takes the
    longest match among the least loaded then.
    """
    least, most = batch_size_range(sim)
    if most - least > sim.option[0]:
        return fewest_requests(sim)
    hit_tokens(sim, r)
    bound = _outlier_bound(sim, sim.option[1])
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        size = batch_size(sim, i)
        sim.score[a] = size - sim.hits[i] * MORE_THAN_A_BATCH if sim.hits[i] > 0 and size <= bound else size
    return lowest_score(sim)


@inlined
def _outlier_bound(sim, deviations):
    """The mean of the batch sizes + ``deviations`` of their standard deviations, that of a sample."""
    n = sim.cluster[0].accepting
    total = squares = 0.0
    for a in range(n):
        size = batch_size(sim, sim.accepting[a])
        total += size
        squares += size * size
    mean = total / n
    return mean + deviations * math.sqrt(max(0.0, squares - total * mean) / max(1, n - 1))


@router(
    "prefix-cache-preble",
    options={
        "match_threshold": Option(0.5, 0.0, 1.0, "that a match must exceed", "share of the prompt"),
        "window_s": WINDOW,
        "request_tokens": Option(DECODING_TOKENS, 0.0, 1e9, "prefill that a request's decoding is worth", "tokens"),
    },
    keeps_log=True,
)
def _prefix_cache_preble(sim, r):
    """longest match if it is most of the prompt, else the lowest cost of late (AIBrix)

    If max hit/prompt > match_threshold: argmin requests sent in the window, among the longest matches; else argmin new
    prefill tokens sent in the window + request_tokens x requests sent in it.

    Source: AIBrix, prefix_cache_preble.go. Its costs are seconds of a Mistral 7B on a V100: 0.301 ms for a prompt
    token, 45 x 150 ms for an answer, which makes the default of request_tokens. It counts an answer once for all
    requests with the same prompt.
    """
    expire(sim, int(sim.option[1] * PS_PER_S))
    hit_tokens(sim, r)
    longest = longest_hit(sim)
    matches = longest > sim.option[0] * sim.req[r].input
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        if not matches:
            sim.score[a] = sim.recent[i].new_tokens + sim.option[2] * sim.recent[i].requests
        else:
            sim.score[a] = sim.recent[i].requests if sim.hits[i] == longest else EXCLUDED
    i = lowest_score(sim)
    return remember(sim, r, i, new_tokens(sim, r, i))


@router("least-kv-cache")
def _least_kv_cache(sim, r):
    """smallest fraction of the KV blocks in use (AIBrix)

    argmin KV blocks in use / usable blocks.

    Source: AIBrix, least_kv_cache.go, which adds the fraction of an engine's CPU cache; none has one here.
    """
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = kv_used_fraction(sim, sim.accepting[a])
    return lowest_score(sim)


@compiled
def _amount(sim, r, unit):
    if unit == REQUESTS:
        return 1
    return sim.req[r].input if unit == PROMPT_TOKENS else sim.req[r].output


@compiled
def _sum_finished(sim, unit):
    """Per instance, into ``sim.hits``: the window's finished requests, or their tokens."""
    sim.hits[:] = 0
    for at in range(sim.cluster[0].expired, sim.cluster[0].logged):
        entry = sim.log[at]
        if is_finished(sim, entry.request):
            sim.hits[entry.instance] += _amount(sim, entry.request, unit)


@compiled
def _lowest_of_instances(sim):
    """`lowest_score` of scores by instance index; ``sim.accepting`` is in order."""
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = sim.score[sim.accepting[a]]
    return lowest_score(sim)


@router(
    "throughput",
    options={
        "prompt_weight": Option(2.0, 0.0, 1e6, "of a prompt token"),
        "output_weight": Option(1.0, 0.0, 1e6, "of an output token"),
        "window_s": METRIC_WINDOW,
    },
    keeps_log=True,
)
def _throughput(sim, r):
    """shortest requests of late, prompt tokens counting twice (AIBrix)

    argmin prompt_weight x mean prompt tokens + output_weight x mean output tokens, of the requests that were sent to
    the instance in the window and have finished; 0 without any.

    Source: AIBrix, throughput.go. It reads the engines' means of a day; in its first versions their tokens per second.
    """
    expire(sim, int(sim.option[2] * PS_PER_S))
    _sum_finished(sim, REQUESTS)
    sim.score[:] = 0
    for at in range(sim.cluster[0].expired, sim.cluster[0].logged):
        entry = sim.log[at]
        if is_finished(sim, entry.request):
            request = sim.req[entry.request]
            tokens = sim.option[0] * request.input + sim.option[1] * request.output
            sim.score[entry.instance] += tokens / sim.hits[entry.instance]
    return remember(sim, r, _lowest_of_instances(sim), 0)


@compiled
def _mean_of_instances(sim, unit):
    """The mean over instances of the mean of ``unit`` in their finished requests."""
    _sum_finished(sim, REQUESTS)
    total, known = 0.0, 0
    for i in range(len(sim.hits)):
        known += sim.hits[i] > 0
    for at in range(sim.cluster[0].expired, sim.cluster[0].logged):
        entry = sim.log[at]
        if is_finished(sim, entry.request):
            total += _amount(sim, entry.request, unit) / sim.hits[entry.instance]
    return total / max(1, known)


@compiled
def _add_phase(sim, unit):
    """Add to ``sim.score`` the mean time of a phase, in ps: waiting, prefill of the mean prompt, decode of the mean
    answer. Times of prefill and decode are taken to be in proportion to the tokens.
    """
    mean = _mean_of_instances(sim, unit)
    _sum_finished(sim, unit)
    for at in range(sim.cluster[0].expired, sim.cluster[0].logged):
        entry = sim.log[at]
        if is_finished(sim, entry.request):
            request = sim.req[entry.request]
            if unit == REQUESTS:
                spent = request.first_scheduled - entry.at
            elif unit == PROMPT_TOKENS:
                spent = request.first_token - request.first_scheduled
            else:
                spent = request.finish - request.first_token
            sim.score[entry.instance] += spent * mean / sim.hits[entry.instance]


@router("least-latency", options={"window_s": METRIC_WINDOW}, keeps_log=True)
def _least_latency(sim, r):
    """shortest expected latency by the requests it finished of late (AIBrix)

    argmin mean queue time + prefill time per prompt token x P + decode time per output token x G, of the requests that
    were sent to the instance in the window and have finished; 0 without any. P and G are the means over the instances
    of their mean prompt and their mean answer.

    Source: AIBrix, least_latency.go. It reads the engines' means, which has them of a day.
    """
    expire(sim, int(sim.option[0] * PS_PER_S))
    sim.score[:] = 0
    _add_phase(sim, REQUESTS)
    _add_phase(sim, PROMPT_TOKENS)
    _add_phase(sim, OUTPUT_TOKENS)
    return remember(sim, r, _lowest_of_instances(sim), 0)


@compiled
def _client_prompts(sim, client):
    """Prompt tokens of the client's requests in the window."""
    tokens = 0
    for at in range(sim.cluster[0].expired, sim.cluster[0].logged):
        k = sim.log[at].request
        if sim.client[k] == client:
            tokens += sim.req[k].input
    return tokens


@router(
    "vtc-basic",
    options={
        "fairness_weight": Option(1.0, 0.0, 1e6, "of the client's place"),
        "utilization_weight": Option(1.0, 0.0, 1e6, "of the instance's running requests"),
        "input_weight": Option(1.0, 0.0, 1e6, "of a prompt token"),
        "output_weight": Option(2.0, 0.0, 1e6, "of an output token"),
        "output_ratio": Option(1.5, 0.0, 1e6, "length that an answer is taken to have", "prompt lengths"),
        # Assumption: AIBrix adapts it to its clients, from this value up.
        "bucket_tokens": Option(1000, 1, 1e12, "by which a client's tokens move it to the next instance", "tokens"),
        "most_requests": Option(100, 1, 1e9, "running ones that count as full utilization", "requests"),
        "noise": Option(0.1, 0.0, 1e6, "largest random addition to a score"),
        "window_s": Option(300, 0.001, 1e6, "over which a client's tokens count", "s"),
    },
    keeps_log=True,
)
def _vtc_basic(sim, r):
    """the more tokens a client sent of late, the later an instance it gets (AIBrix)

    argmin fairness_weight |a - min(t/bucket_tokens, n - 1)| + utilization_weight min(running/most_requests, 1) + u over
    the a-th of n instances, a from 0. The client's tokens t in the window are prompts x (input_weight + output_weight x
    output_ratio), without this request's; u is drawn uniformly from [0, noise).

    Source: AIBrix, vtc/vtc_basic.go, token_tracker.go and token_estimator.go, after VTC (arXiv 2401.00588). AIBrix's
    bucket is the mean of the least and the most that any client sent, at least 1000.
    """
    option = sim.option
    expire(sim, int(option[8] * PS_PER_S))
    n = sim.cluster[0].accepting
    tokens = _client_prompts(sim, sim.client[r]) * (option[2] + option[3] * option[4])
    place = min(tokens / option[5], n - 1)
    for a in range(n):
        utilization = min(running_requests(sim, sim.accepting[a]) / option[6], 1.0)
        noise = option[7] * below(sim, 1 << 32) / 2.0**32 if option[7] > 0 else 0.0
        sim.score[a] = option[0] * abs(a - place) + option[1] * utilization + noise
    return remember(sim, r, lowest_score(sim), 0)
