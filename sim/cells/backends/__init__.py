"""Where cells run: every module here is a backend, found by its name.

It has one function, ``pool(jobs, address)``, a context manager that gives a `Pool` and ends what it started. ``jobs``
is how many workers to start, None for one a processor; ``address`` is that of a cluster that is there already.
"""

import importlib
import pkgutil
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, NamedTuple

from ...errors import SimError, unknown_name

ANSWERS_IN_S = 10  # a cluster that is there


class Pool(NamedTuple):
    """Workers. ``submit(function, item)`` starts ``function(item)`` on one of them.

    Its future raises one of ``deaths`` where the worker died. ``width`` is how many cells keep all workers busy.
    """

    submit: Callable[[Callable[[Any], Any], Any], "Future[Any]"]
    width: int
    deaths: tuple[type[BaseException], ...] = ()


def backend_names() -> list[str]:
    """The backends there are, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def open_pool(name: str, jobs: int | None, address: str | None = None) -> AbstractContextManager[Pool]:
    """The pool of the backend called ``name``; raises `SimError` for what it is not or cannot be given."""
    if name not in backend_names():
        raise SimError(unknown_name("backend", name, backend_names()))
    pool: AbstractContextManager[Pool] = importlib.import_module(f"{__name__}.{name}").pool(jobs, address)
    return pool


def processors() -> int:
    """How many this process may use."""
    import joblib  # slow to import

    count: int = joblib.cpu_count()
    return count


def ignore_interrupts() -> None:
    """In a worker: a terminal sends Ctrl-C to all processes at once, and it is for the parent to end them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def no_cluster(backend: str, address: str | None) -> None:
    """Refuse an address where there is no cluster to be at it."""
    if address is not None:
        raise SimError(f"--address {address}: the backend {backend} has no cluster; use --backend ray or dask")


def its_own_workers(jobs: int | None, address: str | None) -> None:
    """Refuse to say how many workers a cluster has that is there already."""
    if address is not None and jobs is not None:
        raise SimError(f"--jobs {jobs}: the cluster at {address} has its own workers; leave --jobs or --address out")


def check_reachable(backend: str, address: str) -> None:
    """Refuse an address, [PROTOCOL://]HOST:PORT, where nobody answers; other forms are left to the backend."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), ANSWERS_IN_S).close()
        except (OSError, OverflowError) as error:
            raise SimError(f"--backend {backend}: no cluster at {address}: {error}") from None


def optional(module: str, extra: str) -> ModuleType:
    """A package that comes with an extra of this one."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise SimError(f"--backend {extra}: {module} is not installed; pip install 'servesim[{extra}]'") from None
