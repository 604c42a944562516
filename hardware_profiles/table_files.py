"""Reading a table of measured times from a file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from hardware_profiles.library import ProfileError, near_miss

SUFFIXES = (".parquet", ".csv", ".csv.gz")


def read_table_file(path: Path) -> pd.DataFrame:
    """The rows of a Parquet or CSV file, one at least. Raises `ProfileError` that names the file."""
    if not path.name.endswith(SUFFIXES):
        raise ProfileError(f"{path}: expected a table of suffix {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ProfileError(f"{path}: no such file")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ProfileError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if table.empty:
        raise ProfileError(f"{path}: has no rows")
    return table


def require_columns(path: Path, found: Iterable[object], columns: Mapping[str, str]) -> None:
    """Raises `ProfileError` for the first of these columns, given with what they mean, that is not found."""
    names = [str(name) for name in found]
    for column, meaning in columns.items():
        if column not in names:
            raise ProfileError(f"{path}: no column {column!r} ({meaning}){near_miss(column, names)}")
