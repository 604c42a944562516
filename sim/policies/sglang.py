"""Policies of SGLang's gateway [sgl-project/sglang, sgl-model-gateway/src/policies].

Its loads are the requests in flight.
"""

from ..kernel.indicators import batch_size, hit_tokens
from ..kernel.jit import inlined
from ..kernel.routing import Option, router
from ..kernel.state import NONE
from .hashing import load_bound, rendezvous
from .scores import batch_size_range, best_match, fewest_requests, longest_hit


@router(
    "cache-aware",
    options={
        "match_threshold": Option(0.3, 0.0, 1.0, "that a match must exceed", "share of the prompt"),
        "balance_abs": Option(64, 0, 1e9, "difference of loads beyond which they are unbalanced", "requests"),
        "balance_rel": Option(1.5, 1.0, 1e9, "ratio of loads beyond which, besides, they are unbalanced"),
    },
)
def _cache_aware(sim, r):
    """longest match if long and loads are balanced, else fewest requests (SGLang)

    argmin requests if max - min > balance_abs and max > balance_rel x min, or if max hit/prompt <= match_threshold;
    else argmax hit.

    Source: SGLang's gateway, cache_aware.rs; the defaults are those of its command line.
    """
    least, most = batch_size_range(sim)
    if most - least > sim.option[1] and most > sim.option[2] * least:
        return fewest_requests(sim)
    hit_tokens(sim, r)
    if longest_hit(sim) <= sim.option[0] * sim.req[r].input:
        return fewest_requests(sim)
    return best_match(sim)


@inlined
def _segment_at(sim, r, tokens):
    """The segment of request ``r`` in which its token number ``tokens`` falls: requests that share so much share it."""
    x = r
    while sim.seg[x].parent != NONE and sim.seg[x].first_block * sim.cluster[0].block_size >= tokens:
        x = sim.seg[x].parent
    return x


@router(
    "prefix-hash",
    options={
        "prefix_tokens": Option(256, 1, 1e9, "of the prompt that are hashed", "tokens"),
        "load_factor": Option(1.25, 1.0, 1e6, "most load of the instance", "mean loads"),
    },
)
def _prefix_hash(sim, r):
    """where the prompt's beginning hashes, unless overloaded (SGLang)

    argmax hash(first prefix_tokens of the prompt, instance) if its requests <= load_factor x (total + 1)/n; else argmin
    requests.

    Source: SGLang's gateway, prefix_hash.rs.
    """
    i = rendezvous(sim, _segment_at(sim, r, sim.option[0]), float("inf"))
    if batch_size(sim, i) <= load_bound(sim, sim.option[1]):
        return i
    return fewest_requests(sim)
