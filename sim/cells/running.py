"""Cells on a pool of workers: each comes to a result or to a failure that is told, and a dead worker is no loss."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from hardware_profiles import ProfileError
from workloads import WorkloadError

from ..errors import SimError
from .backends import Pool

TRIES = 3  # of a cell whose worker dies; the last one with no other cell beside it
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Failed(NamedTuple):
    """A cell that came to nothing, and why."""

    error: str


def run_all(
    function: Callable[[Item], Outcome], items: Sequence[Item], pool: Pool
) -> Iterator[tuple[int, Outcome | Failed]]:
    """``function`` of every item: its place among the items and what became of it, as they finish.

    A worker that dies may take cells with it that did nothing wrong, those that ran or waited beside the guilty one.
    All of them are tried again, and a third time one by one: who dies then is guilty, or lacked all memory there is.
    """
    waiting: Sequence[int] = range(len(items))
    for width in (*[pool.width] * (TRIES - 1), 1):
        died = []
        for place, outcome in _round(function, items, waiting, pool, width):
            if outcome is None:
                died.append(place)
            else:
                yield place, outcome
        waiting = died
    ended = f"its process was ended from outside {TRIES} times, mostly for want of memory; use fewer requests"
    yield from ((place, Failed(ended)) for place in waiting)


def _round(
    function: Callable[[Item], Outcome], items: Sequence[Item], places: Sequence[int], pool: Pool, width: int
) -> Iterator[tuple[int, Outcome | Failed | None]]:
    """Each of the places once, ``width`` of them on the pool at any time; None for those whose worker died."""
    left = iter(places)
    running: dict[Future[Outcome | Failed], int] = {}
    call = partial(attempt, function)
    while True:
        for place in islice(left, width - len(running)):
            running[pool.submit(call, items[place])] = place
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), _outcome(future, pool)


def _outcome(future: "Future[Outcome | Failed]", pool: Pool) -> Outcome | Failed | None:
    try:
        return future.result()
    except pool.deaths:
        return None
    except Exception as error:  # of the pool itself, such as a worker without this package
        last_line = str(error).strip().rpartition("\n")[2]
        return Failed(f"{type(error).__name__}: {last_line}")


def attempt(function: Callable[[Item], Outcome], item: Item) -> Outcome | Failed:
    """``function(item)``; whatever goes wrong in it is told, as other cells are not to be lost for it."""
    try:
        return function(item)
    except (SimError, WorkloadError, ProfileError) as error:
        return Failed(str(error))
    except MemoryError:
        return Failed("not enough memory; use fewer requests, instances or --jobs")
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}")
