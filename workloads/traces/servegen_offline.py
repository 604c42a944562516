"""ServeGen's offline traces: the requests of one batch job each, submitted together.

Source of the format: https://github.com/alibaba/ServeGen, data/offline. There are two kinds of file: content
traces have block ids and no answer lengths, stat traces have answer lengths and durations and no block ids.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workloads.errors import TraceError
from workloads.traces.hashes import prefixes_of
from workloads.traces.registry import trace_format
from workloads.traces.table import read_jsonl
from workloads.workload import Workload

BLOCK_TOKENS = 16
COMMON = {"request": "request_id", "category": "type", "input_tokens": "input_length"}
CONTENT = COMMON | {"hash_ids": "hash_ids", "images": "img_ids"}
STAT = COMMON | {"output_tokens": "output_length", "duration": "duration"}  # duration in ms


@trace_format("servegen-offline", "ServeGen offline JSONL: a batch job's requests, all at 0 s")
def read_servegen_offline(path: Path, *, output_tokens: int | None = None) -> Workload:
    """`output_tokens`: the length of every answer, needed for a content trace, which does not tell it.

    All requests arrive at 0 s, in the order of request_id. Image ids and measured durations have no place in
    a workload and are not read.
    """
    table = read_jsonl(path, CONTENT | STAT)
    content = "hash_ids" in table
    table = replace(table, field_of=CONTENT if content else STAT)
    table.check_fields(table.field_of, "format 'jsonl' reads files with other fields")
    if content and output_tokens is None:
        raise TraceError(f"{path}: has no answer lengths; give the option output_tokens")
    if not content and output_tokens is not None:
        raise TraceError(f"{path}: output_tokens is given, but the file has answer lengths; leave the option out")
    table = table.sorted_by(table.integers("request"))
    requests = len(table.lines)
    input_tokens = table.integers("input_tokens")
    names, category = np.unique(table.strings("category"), return_inverse=True)
    columns: dict[str, Any] = {}
    if content:
        columns |= prefixes_of(table, input_tokens, BLOCK_TOKENS, last_block_optional=False)
        columns["output_tokens"] = np.full(requests, output_tokens)
    else:
        columns["output_tokens"] = table.integers("output_tokens")
    return table.workload(
        arrival_s=np.zeros(requests),
        input_tokens=input_tokens,
        category_names=names.tolist(),
        category=category,
        **columns,
    )
