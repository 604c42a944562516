"""Parts that several policies are made of; scores are indexed like ``sim.accepting``, the lowest is best."""

from ..kernel.indicators import batch_size
from ..kernel.jit import compiled, inlined
from ..kernel.routing import lightest, lowest_score
from ..kernel.state import NONE

PS_PER_S = 10**12
MORE_THAN_A_BATCH = 2.0**24  # makes a token of hits outweigh all requests of an instance; exact up to 2**29 tokens


@inlined
def score_batch_size(sim):
    """Queued + running requests."""
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = batch_size(sim, sim.accepting[a])


@inlined
def fewest_requests(sim):
    """argmin queued + running requests"""
    score_batch_size(sim)
    return lightest(sim)


@compiled
def score_range(sim):
    """The lowest and the highest ``sim.score``."""
    lowest = highest = sim.score[0]
    for a in range(1, sim.cluster[0].accepting):
        lowest = min(lowest, sim.score[a])
        highest = max(highest, sim.score[a])
    return lowest, highest


@inlined
def batch_size_range(sim):
    """The smallest and the largest batch size; they are in ``sim.score``."""
    score_batch_size(sim)
    return score_range(sim)


@inlined
def longest_hit(sim):
    """The largest of ``sim.hits`` among the accepting instances."""
    longest = 0
    for a in range(sim.cluster[0].accepting):
        longest = max(longest, sim.hits[sim.accepting[a]])
    return longest


@compiled
def best_match(sim):
    """argmax hit; after `hit_tokens`"""
    for a in range(sim.cluster[0].accepting):
        sim.score[a] = -sim.hits[sim.accepting[a]]
    return lowest_score(sim)


@inlined
def is_finished(sim, r):
    """Whether request ``r`` has been answered: only then may a router know its output length."""
    return sim.req[r].finish != NONE
