"""Files that are complete or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workloads.errors import WorkloadError


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """A file to write to, which appears as `path` when the block ends well, and not at all otherwise."""
    if path.is_dir():
        raise WorkloadError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise WorkloadError(f"{path}: there is no folder {path.parent}; make it first")
    partial = path.with_name(f".partial-{path.name}")  # keeps the suffix, which tells writers the format
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
