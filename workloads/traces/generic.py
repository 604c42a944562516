"""CSV and JSONL files with named columns: the workload's own names, or others given as options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import TraceError, did_you_mean
from workloads.traces.hashes import prefixes_of
from workloads.traces.registry import trace_format
from workloads.traces.table import Table, read_csv, read_jsonl
from workloads.workload import COLUMNS, Workload

UNITS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
REQUIRED = ("arrival_s", "input_tokens", "output_tokens")
REFERENCES = ("parent", "prefix_request")
MOST_BLOCK_TOKENS = 2**31 - 1


@trace_format("csv", "CSV with a header line and named columns")
def read_csv_trace(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    time_unit: str = "s",
    hash_block_tokens: int | None = None,
    ignore: Sequence[str] = (),
) -> Workload:
    return _workload(read_csv(path, _field_of(columns)), columns or {}, time_unit, hash_block_tokens, ignore)


@trace_format("jsonl", "JSON Lines with named fields")
def read_jsonl_trace(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    time_unit: str = "s",
    hash_block_tokens: int | None = None,
    ignore: Sequence[str] = (),
) -> Workload:
    return _workload(read_jsonl(path, _field_of(columns)), columns or {}, time_unit, hash_block_tokens, ignore)


def _field_of(columns: Mapping[str, str] | None) -> dict[str, str]:
    """The file's name for each of our columns: as `columns` says, else ours.

    An optional column has none if `columns` gives the field of its name to another.
    """
    ours, mapped = [*COLUMNS, "hash_ids"], dict(columns or {})
    for name in mapped:
        if name not in ours:
            raise TraceError(f"columns: unknown column '{name}'; {did_you_mean(name, ours)}")
    field_of = {name: name for name in ours if name in REQUIRED or name not in mapped.values()} | mapped
    column_of: dict[str, str] = {}
    for name, field in field_of.items():
        if (other := column_of.setdefault(field, name)) != name:
            problem = f"{other} and {name} are both read from the field '{field}'; map one of them to another field"
            raise TraceError(f"columns: {problem}")
    return field_of


def _workload(
    table: Table,
    mapped: Mapping[str, str],
    time_unit: str,
    hash_block_tokens: int | None,
    ignore: Sequence[str],
) -> Workload:
    if time_unit not in UNITS_PER_S:
        raise TraceError(f"time_unit: unknown unit '{time_unit}'; {did_you_mean(time_unit, UNITS_PER_S)}")
    table = table.without(ignore)
    if_missing = "else tell the file's name for it with the option columns"
    table.check_fields([*REQUIRED, *mapped], "else map it with columns or list it in ignore", if_missing)
    has_hashes = "hash_ids" in table
    if hash_block_tokens is not None and not 1 <= hash_block_tokens <= MOST_BLOCK_TOKENS:
        got = short_repr(hash_block_tokens)
        raise TraceError(f"hash_block_tokens: must be from 1 to {MOST_BLOCK_TOKENS}, got {got}")
    if has_hashes and hash_block_tokens is None:
        raise TraceError(f"{table.path}: hash_ids: needs the option hash_block_tokens, the tokens of a block")
    if not has_hashes and hash_block_tokens is not None:
        raise TraceError(f"{table.path}: hash_block_tokens is given, but the file has no hash_ids")
    if has_hashes and "prefix_request" in table:
        raise TraceError(f"{table.path}: has hash_ids and prefix_request; put one of them into ignore")

    arrival_s = table.numbers("arrival_s", empty=float("nan")) / UNITS_PER_S[time_unit]
    if not any(column in table for column in REFERENCES):  # those refer to rows as the file numbers them
        table = table.sorted_by(arrival_s)
        arrival_s = np.sort(arrival_s)
    columns: dict[str, Any] = {"arrival_s": arrival_s}
    for name in COLUMNS:
        if name in columns or name not in table:
            continue
        if name == "category":
            names, columns[name] = _factorised(table.strings(name))
            columns["category_names"] = names
        elif name == "think_s":
            columns[name] = table.numbers(name) / UNITS_PER_S[time_unit]
        else:
            columns[name] = table.integers(name)
    if hash_block_tokens is not None:
        columns |= prefixes_of(table, columns["input_tokens"], hash_block_tokens, last_block_optional=True)
    return table.workload(**columns)


def _factorised(values: list[str]) -> tuple[list[str], NDArray[np.int32]]:
    """The different values as they first occur, and for each value its index among them."""
    code: dict[str, int] = {}
    codes = np.array([code.setdefault(value, len(code)) for value in values], np.int32)
    return list(code), codes
