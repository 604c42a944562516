"""In this process, one after the other."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ...errors import SimError
from . import Pool, no_cluster


@contextmanager
def pool(jobs: int | None, address: str | None) -> Iterator[Pool]:
    """One worker, this process; its death is the end of all."""
    no_cluster("inline", address)
    if jobs not in (None, 1):
        raise SimError(f"--jobs {jobs}: the backend inline runs one cell after the other; leave it out")
    yield Pool(_run, width=1)


def _run(function: Callable[[Any], Any], item: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(function(item))
    return future
