"""On a Dask cluster: one that is there, or one of this machine's processors for as long as it is needed."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from ...errors import SimError
from . import Pool, check_reachable, ignore_interrupts, its_own_workers, optional, processors


@contextmanager
def pool(jobs: int | None, address: str | None) -> Iterator[Pool]:
    """A thread of the cluster for each cell. A cluster that is there tries a cell more often by itself."""
    its_own_workers(jobs, address)
    distributed = optional("distributed", "dask")
    import dask

    with ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        if address is None:
            cluster = distributed.LocalCluster(
                n_workers=jobs or processors(),
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
            client = stack.enter_context(distributed.Client(stack.enter_context(cluster), set_as_default=False))
            client.run(ignore_interrupts)
        else:
            client = stack.enter_context(_client(distributed, address))
        workers = sum(client.nthreads().values())
        if not workers:
            raise SimError(f"--backend dask: the cluster at {address} has no workers; start some")
        submit = client.get_executor(pure=False).submit
        yield Pool(submit, 2 * workers, (distributed.scheduler.KilledWorker,))


def _client(distributed: ModuleType, address: str) -> Any:
    check_reachable("dask", address)
    try:
        return distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SimError(f"--backend dask: no cluster at {address}: {error}") from None
