"""Workload-aware eviction ("KVCache Cache in the Wild", arXiv 2506.02634)."""

from math import exp
from pathlib import Path

import numpy as np

from ..kernel.jit import compiled
from .blocks import BlockTrace
from .cache import NONE, REUSE_LAW, Setup
from .queues import next_place
from .registry import policy
from .reuse_profile import read_profile

TURNS = 8  # later ones are a class with the last. An assumption: turns after the first are much alike (same source)


def _classes(trace: BlockTrace, profile: Path | None) -> Setup:
    names = trace.category_names
    given = None if profile is None else read_profile(profile, names)
    turns = [TURNS if given is None else len(given[name]) for name in names]
    first = np.cumsum([0, *turns[:-1]])
    laws = np.zeros(sum(turns), REUSE_LAW)
    if given is not None:
        flat = [law for name in names for law in given[name]]
        laws["probability"] = [law.reuse_probability for law in flat]
        laws["mean_s"] = [law.mean_reuse_s for law in flat]
        laws["is_given"] = 1
    queue_of = first[trace.category] + np.minimum(trace.turn, np.array(turns)[trace.category] - 1)
    return Setup(laws, queue_of.astype(np.int32), np.empty(0, np.int32))


@compiled
def _victim(cache, r):
    """Of the classes' least recent blocks, the one of the smallest (reuse probability, -offset)."""
    now = cache.now[0]
    victim, lowest = NONE, np.inf
    for q in range(len(cache.queues)):
        b = cache.queues[q].head
        if b == NONE:
            continue
        chance = _reuse_chance(cache.laws[q], now.time_s - cache.used_s[b], now.life_s)
        if chance < lowest or (chance == lowest and cache.offset[b] > cache.offset[victim]):
            victim, lowest = b, chance
    return victim


@compiled
def _reuse_chance(law, age_s, life_s):
    """Probability of a reuse between ``age_s`` and ``life_s`` later: p (exp(-a age) - exp(-a (age + life)))."""
    if law.probability == 0 or law.mean_s == 0:
        return 0.0
    return law.probability * (exp(-age_s / law.mean_s) - exp(-(age_s + life_s) / law.mean_s))


@compiled
def _fit(law):
    """The exponential of greatest likelihood, but for the uses whose reuse is yet to come."""
    if law.is_given == 0 and law.reuses > 0:
        law.probability = law.reuses / law.uses
        law.mean_s = law.wait_s / law.reuses


@compiled
def _expect_life(cache):
    """A block comes in: the life is the time in which the cache's capacity comes in (Little's law), averaged as long.

    The clock is when the last block came in.
    """
    now = cache.now[0]
    blocks = next_place(cache)
    if blocks > 1:
        now.life_s += ((now.time_s - now.clock) * now.capacity - now.life_s) / min(blocks, now.capacity)
    now.clock = now.time_s


@policy("workload-aware", victim=_victim, prepare=_classes, profiled=True)
def _workload_aware(cache, b):
    """the block least likely to be used again in its expected life

    Blocks belong to the class of the request that used them last: its category and turn. In a class, reuse times are
    nearly exponential: of a use, another one follows with a probability p after 1/a seconds in the mean. The block
    goes that is least likely to be used again within the life that it can expect in the cache.

    Source: KVCache Cache in the Wild, arXiv 2506.02634.
    """
    now = cache.now[0]
    if cache.uses[b] == 1:
        _expect_life(cache)
    if not np.isnan(cache.used_s[b]):
        before = cache.laws[cache.queue[b]]
        before.reuses += 1
        before.wait_s += now.time_s - cache.used_s[b]
        _fit(before)
    queue = cache.queue_of[now.request]
    cache.laws[queue].uses += 1
    _fit(cache.laws[queue])
    return queue
