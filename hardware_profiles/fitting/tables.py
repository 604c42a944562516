"""Reading a table of measured operator times."""

from pathlib import Path

import numpy as np
import pandas as pd

from hardware_profiles.library import ProfileError, near_miss
from hardware_profiles.operators import OPERATORS, Operator
from hardware_profiles.precision import precision
from hardware_profiles.table_files import read_table_file, require_columns

COMMON = {
    "gpu": "GPU, for example H100_SXM",
    "dtype": "precision of weights and activations: bf16 (or fp16), fp8, fp8_block, int4",
    "measured_us": "measured time of the operator, microseconds",
}
FORM_FACTOR = "_SXM"


def operators_of(kind: str) -> list[Operator]:
    """The operators that a table of this kind may hold, or a `ProfileError` with the known kinds."""
    found = [operator for operator in OPERATORS.values() if operator.table == kind]
    if not found:
        kinds = sorted({operator.table for operator in OPERATORS.values()})
        raise ProfileError(f"--operator {kind}: unknown{near_miss(kind, kinds)} (known: {', '.join(kinds)})")
    return found


def read_table(path: Path, kind: str) -> pd.DataFrame:
    """The rows of a Parquet or CSV table of this kind of operator.

    Raises `ProfileError` naming file, column and row.
    """
    operators = operators_of(kind)
    table = _read(path)
    require_columns(path, table.columns, COMMON)
    taken = pd.Series(False, index=table.index)
    for operator in operators:
        require_columns(path, table.columns, {column: operator.columns[column] for column in operator.rows})
        own = operator.own_rows(table)
        if own.any():
            require_columns(path, table.columns, operator.columns)
            _check_numbers(path, table[own], operator)
        taken |= own
    if not taken.all():
        column = next(iter(operators[0].rows))
        row = int(table.index[~taken][0])
        known = ", ".join(value for operator in operators for value in operator.rows[column])
        raise ProfileError(f"{path}: row {row + 1}: {column}: {table[column][row]!r} is unknown (known: {known})")
    return clean(table)


def clean(table: pd.DataFrame) -> pd.DataFrame:
    """`gpu` and `dtype` in the profiles' own spelling (h100, fp8-block); `row` is the row's number, from 1."""
    table = table.reset_index(drop=True)
    gpu = table["gpu"].astype(str).str.removesuffix(FORM_FACTOR).str.casefold()
    names = {name: precision(name).name for name in table["dtype"].astype(str).unique()}
    dtype = table["dtype"].astype(str).map(names)
    return table.assign(gpu=gpu, dtype=dtype, row=np.arange(1, len(table) + 1))


def split(table: pd.DataFrame, operator: Operator) -> list[tuple[str, pd.DataFrame]]:
    """An operator's own rows by its key: (section, or section.key; rows)."""
    own = table[operator.own_rows(table)]
    if operator.key is None:
        return [(operator.name, own)] if len(own) else []
    return [(f"{operator.name}.{key}", rows) for key, rows in own.groupby(operator.key, observed=True, sort=True)]


def shapes(table: pd.DataFrame, operator: Operator) -> pd.Series:
    """Each row's shape as one text."""
    columns = [column for column in operator.shape if column in table]
    return table[columns].astype(str).agg(" ".join, axis=1)


def _read(path: Path) -> pd.DataFrame:
    table = read_table_file(path)
    for column in table.select_dtypes("category"):
        table[column] = table[column].astype(object)
    return table.reset_index(drop=True).assign(row=np.arange(1, len(table) + 1))


def _check_numbers(path: Path, table: pd.DataFrame, operator: Operator) -> None:
    """Every size is a finite number of at least 0, and every time one above 0; columns of names are left alone."""
    for column in ("measured_us", *operator.columns):
        values = table[column]
        is_time = column == "measured_us"
        if not (is_time or pd.api.types.is_numeric_dtype(values)):
            continue
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
        bad = ~np.isfinite(numbers) | (numbers < 0) | ((numbers == 0) & is_time)
        if bad.any():
            row, found = int(table["row"].iloc[bad.argmax()]), values.iloc[bad.argmax()]
            what = "a time above 0" if is_time else "a number of at least 0"
            raise ProfileError(f"{path}: row {row}: {column}: expected {what}, found {found!r}")
