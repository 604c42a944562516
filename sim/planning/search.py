"""The least size that holds, where more is better: bracketing, bisection, and a check of the answer's neighbour."""

from collections.abc import Callable, Generator
from typing import NamedTuple


class Question(NamedTuple):
    """Does this size hold? With all seeds, or by a first look at one of them."""

    size: int
    all_seeds: bool


Search = Generator[Question, bool, int | None]


def least(start: int, stride: Callable[[int], int], lowest: int, highest: int) -> Search:
    """Ask for sizes from ``lowest`` to ``highest``; returns one that holds with all seeds while the one below does not.

    None where even ``highest`` does not. From ``start`` on, the first look goes on by ``stride`` of the size until it
    has one that holds and one that does not, and halves what is between. Its outcome then moves one by one until it
    holds and its lower neighbour misses. Where chance lets a smaller size hold again below that, it is not found.
    """
    size = yield from _first_look(start, stride, lowest, highest)
    while size is not None and not (yield Question(size, True)):
        size = size + 1 if size < highest else None
    while size is not None and size > lowest and (yield Question(size - 1, True)):
        size -= 1
    return size


def _first_look(start: int, stride: Callable[[int], int], lowest: int, highest: int) -> Search:
    size = start
    if (yield Question(size, False)):
        misses, holds = lowest - 1, size
        while holds > lowest:
            size = max(lowest, holds - stride(holds))
            if not (yield Question(size, False)):
                misses = size
                break
            holds = size
    else:
        misses = size
        while True:
            if misses == highest:
                return None
            size = min(highest, misses + stride(misses))
            if (yield Question(size, False)):
                holds = size
                break
            misses = size
    while holds - misses > 1:
        size = (misses + holds) // 2
        if (yield Question(size, False)):
            holds = size
        else:
            misses = size
    return holds
