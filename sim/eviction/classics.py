"""Policies that need only a score per block."""

from ..kernel.jit import compiled
from .queues import next_place
from .registry import policy


@policy("lru")
def _lru(cache, b):
    """the block whose last use is longest ago"""
    return 0


@policy("lfu")
def _lfu(cache, b):
    """the block used least often since it came in"""
    cache.score[b] = cache.uses[b]
    return 0


@policy("fifo")
def _fifo(cache, b):
    """the block that came in first"""
    if cache.uses[b] == 1:
        cache.score[b] = next_place(cache)
    return 0


@compiled
def _age(cache, r):
    """The lowest score goes, and is what blocks start from hereafter."""
    b = cache.queues[0].head
    cache.now[0].clock = cache.score[b]
    return b


@policy("gdsf", victim=_age)
def _gdsf(cache, b):
    """the block used least often, while uses of long ago lose weight

    argmin clock at its last use + uses x cost/size, where the clock is what the last victim had.
    It costs a block's tokens to bring it back, and a whole block is occupied, be it partly filled.

    Source: GDSF, L. Cherkasova, 1998.
    """
    cache.score[b] = cache.now[0].clock + cache.uses[b] * cache.tokens[b] / cache.now[0].block_tokens
    return 0
