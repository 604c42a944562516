"""On processes of this machine, joblib's."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

from . import Pool, ignore_interrupts, no_cluster, processors


@contextmanager
def pool(jobs: int | None, address: str | None) -> Iterator[Pool]:
    """``jobs`` processes. When one dies all are replaced, and what they had to do by then dies too."""
    no_cluster("loky", address)
    workers = jobs or processors()

    def executor() -> ProcessPoolExecutor:
        return get_reusable_executor(workers, timeout=60, initializer=ignore_interrupts)

    def submit(function: Callable[[Any], Any], item: Any) -> "Future[Any]":
        with _interrupts_held():
            try:
                return executor().submit(function, item)
            except BrokenProcessPool:  # since it was looked at
                return executor().submit(function, item)

    try:
        yield Pool(submit, 2 * workers, (BrokenProcessPool,))
    except BaseException:
        _kill(executor())
        raise


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits for the end of this block: an executor is of no use after a half submitted cell."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(executor: ProcessPoolExecutor) -> None:
    """End it with what it runs. (Its own way to do so trips over a cell that was submitted a moment ago.)"""
    for process in list(executor._processes.values()):
        process.terminate()
    executor.shutdown()
