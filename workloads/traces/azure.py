"""Azure's LLM inference traces of 2023: wall-clock time, prompt and answer length.

Source of the format: https://github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.
"""

import re
from pathlib import Path

import numpy as np

from workloads.traces.registry import trace_format
from workloads.traces.table import read_csv
from workloads.workload import Workload

FIELD_OF = {"arrival_s": "TIMESTAMP", "input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})?", re.ASCII)


@trace_format("azure", "Azure LLM inference 2023 CSV: TIMESTAMP, ContextTokens, GeneratedTokens")
def read_azure(path: Path) -> Workload:
    table = read_csv(path, FIELD_OF)
    table.check_fields(FIELD_OF, "format 'csv' reads files with other columns")
    expected = "a time such as 2023-11-16 18:17:03.9799600"
    times = table.converted("arrival_s", _timestamp, expected, "datetime64[ns]")
    table = table.sorted_by(times)
    return table.workload(
        arrival_s=(np.sort(times) - times.min()).astype(np.int64) / 1e9,
        input_tokens=table.integers("input_tokens"),
        output_tokens=table.integers("output_tokens"),
    )


def _timestamp(cell: str) -> np.datetime64:
    if not _TIMESTAMP.fullmatch(cell):
        raise ValueError
    return np.datetime64(cell, "ns")
