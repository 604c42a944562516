"""On a Ray cluster: one that is there, or one of this machine's processors for as long as it is needed."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ...errors import SimError
from . import Pool, check_reachable, its_own_workers, optional, processors


@contextmanager
def pool(jobs: int | None, address: str | None) -> Iterator[Pool]:
    """A processor of the cluster for each cell. A worker that dies takes one cell with it."""
    its_own_workers(jobs, address)
    ray = optional("ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a simulator reports to nobody
    if address is None:
        same_code = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
        own: dict[str, Any] = {"num_cpus": jobs or processors(), "include_dashboard": False, "runtime_env": same_code}
    else:
        check_reachable("ray", address)  # of which Ray itself makes minutes and a crash
        own = {}
    try:
        ray.init(address or "local", logging_level="ERROR", log_to_driver=False, **own)
    except (ConnectionError, ValueError) as error:
        raise SimError(f"--backend ray: no cluster at {address}: {error}") from None
    try:
        remote = ray.remote(max_retries=0)(_call)

        def submit(function: Callable[[Any], Any], item: Any) -> "Future[Any]":
            future: Future[Any] = remote.remote(function, item).future()
            return future

        deaths = ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError
        yield Pool(submit, 2 * int(ray.cluster_resources()["CPU"]), deaths)
    finally:
        ray.shutdown()


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)
