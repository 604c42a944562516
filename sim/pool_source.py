"""A client pool by the name that a scenario or a command gives it."""

from pathlib import Path

from workloads.clients import ClientPool
from workloads.pools import load_pool
from workloads.servegen import read_servegen

from .errors import SimError


def read_pool(source: str, missing_lengths: str | None) -> ClientPool:
    """The pool in the ServeGen folder ``source``, or the one that `load_pool` knows by that name or path.

    ``missing_lengths`` is `read_servegen`'s, and None for its default; other pools take none. Raises `SimError` or
    `workloads.WorkloadError`.
    """
    if Path(source).is_dir():
        return read_servegen(source) if missing_lengths is None else read_servegen(source, missing_lengths)
    if missing_lengths is not None:
        raise SimError(f"pool {source}: missing_lengths is for ServeGen folders; leave it out")
    return load_pool(source)
