"""Runs of the studies on several processes."""

from collections.abc import Callable, Sequence
from typing import Any

from joblib import Parallel, delayed

JOBS = 2


def in_parallel(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What the function gives for each, in their order."""
    return list(Parallel(n_jobs=JOBS, backend="loky")(delayed(function)(*each) for each in arguments))
