"""Pools that come with the package, fitted to ServeGen's public data (Apache-2.0, github.com/alibaba/ServeGen)."""

from pathlib import Path

from workloads.clients import ClientPool
from workloads.errors import WorkloadError, did_you_mean
from workloads.pools.file import SUFFIX, read_pool, save_pool

__all__ = ["load_pool", "pool_names", "save_pool"]

_FOLDER = Path(__file__).parent


def pool_names() -> tuple[str, ...]:
    """The pools that come with the package."""
    return tuple(sorted(file.name.removesuffix(SUFFIX) for file in _FOLDER.glob(f"*{SUFFIX}")))


def load_pool(name_or_path: str | Path) -> ClientPool:
    """One of `pool_names()`, or the pool in a file that `save_pool` wrote.

    Its times are those of the data it was fitted to; it has no requests before or after. Raises WorkloadError.
    """
    if str(name_or_path) in pool_names():
        return read_pool(_FOLDER / f"{name_or_path}{SUFFIX}")
    if Path(name_or_path).exists():
        return read_pool(name_or_path)
    raise WorkloadError(f"no pool and no file '{name_or_path}'; {did_you_mean(str(name_or_path), pool_names())}")
