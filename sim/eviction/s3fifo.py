"""S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP'23)."""

from pathlib import Path

from ..kernel.jit import compiled
from .blocks import BlockTrace
from .cache import NONE, Setup, queues_only
from .queues import join, leave, next_place
from .registry import policy

SMALL, MAIN = 0, 1
SMALL_SHARE = 0.1  # of the capacity, as in the paper
MOST_REUSES = 3  # two bits a block, as in the paper

# A block's note is how often it was used again while it is resident; once it went from the small queue, how many had
# then done so, itself included.


def _two_queues(trace: BlockTrace, profile: Path | None) -> Setup:
    return queues_only(2)


@compiled
def _to_the_back(cache, b, queue):
    """Block ``b``, which waits in one of the queues, goes to the back of ``queue``."""
    leave(cache, b)
    cache.queues[cache.queue[b]].blocks -= 1
    cache.queues[queue].blocks += 1
    cache.queue[b] = queue
    cache.score[b] = next_place(cache)
    join(cache, b)


@compiled
def _victim(cache, r):
    now, small, main = cache.now[0], cache.queues[SMALL], cache.queues[MAIN]
    while True:
        if small.head != NONE and (main.head == NONE or small.blocks >= SMALL_SHARE * now.capacity):
            b = small.head
            if cache.note[b] <= 1:
                now.clock += 1
                cache.note[b] = int(now.clock)
                return b
            cache.note[b] = 0
        else:
            b = main.head
            if cache.note[b] == 0:
                return b
            cache.note[b] -= 1
        _to_the_back(cache, b, MAIN)


@policy("s3-fifo", victim=_victim, prepare=_two_queues)
def _s3_fifo(cache, b):
    """blocks not soon used again, by a small and a main first-in-first-out queue

    A block comes in at the back of a small queue. One that is used again more than once before it gets to the front
    moves on to the main queue; others go, and if they come back soon they enter the main queue at once. At the front of
    the main queue, a block goes unless it was used again; then it starts once more at the back.

    Source: S3-FIFO, Yang et al., FIFO queues are all you need for cache eviction, SOSP'23.
    """
    if cache.uses[b] > 1:
        cache.note[b] = min(cache.note[b] + 1, MOST_REUSES)
        return cache.queue[b]
    gone = cache.note[b]
    cache.note[b] = 0
    cache.score[b] = next_place(cache)
    came_back_soon = gone > 0 and cache.now[0].clock - gone < (1 - SMALL_SHARE) * cache.now[0].capacity
    return MAIN if came_back_soon else SMALL
