"""BurstGPT's trace: four months of calls to GPT services, with lengths and without content.

Source of the format: https://github.com/HPMLL/BurstGPT (arXiv 2401.17644).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from workloads.errors import TraceError
from workloads.traces.failures import answered
from workloads.traces.registry import trace_format
from workloads.traces.table import read_csv
from workloads.workload import Workload

FIELD_OF = {
    "arrival_s": "Timestamp",  # from midnight of the first day
    "model": "Model",
    "input_tokens": "Request tokens",
    "output_tokens": "Response tokens",
    "total_tokens": "Total tokens",
    "log_type": "Log Type",
}


@trace_format("burstgpt", "BurstGPT CSV: Timestamp in s, Model, Request, Response and Total tokens, Log Type")
def read_burstgpt(path: Path, *, failed: str = "refuse") -> Workload:
    """`failed`: whether to "refuse" or "skip" rows of 0 response tokens, which are calls that failed."""
    table = read_csv(path, FIELD_OF)
    table.check_fields(FIELD_OF, "list the columns in format 'csv' instead")
    kept = np.flatnonzero(answered(table, failed)).tolist()
    if not kept:
        raise TraceError(f"{path}: all {len(table.lines)} requests failed; there is nothing to replay")
    cells = {field: [column[row] for row in kept] for field, column in table.cells.items()}
    table = replace(table, lines=[table.lines[row] for row in kept], cells=cells)
    time_s = table.numbers("arrival_s")
    table = table.sorted_by(time_s)
    input_tokens, output_tokens = table.integers("input_tokens"), table.integers("output_tokens")
    wrong = input_tokens + output_tokens != table.integers("total_tokens")
    if wrong.any():
        row = int(wrong.argmax())
        problem = f"is not {input_tokens[row]} request and {output_tokens[row]} response tokens; correct the line"
        raise table.error(row, "total_tokens", problem)
    callers = [f"{m}, {t}" for m, t in zip(table.strings("model"), table.strings("log_type"), strict=True)]
    names, category = np.unique(callers, return_inverse=True)
    return table.workload(
        arrival_s=np.sort(time_s),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        category_names=names.tolist(),
        category=category,
    )
