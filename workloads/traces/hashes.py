"""The hash ids of a trace's blocks to shared prefixes."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.prefixes import prefixes_from_hashes
from workloads.traces.table import Table


def prefixes_of(
    table: Table, input_tokens: NDArray[np.int64], block_tokens: int, last_block_optional: bool
) -> dict[str, NDArray[Any]]:
    """The columns prefix_request and prefix_tokens from the column hash_ids, whose rows follow `table`.

    Ids are any integers or strings; a JSON list, or separated by spaces in a CSV cell. A prompt has one for
    each block of `block_tokens` tokens; for a partly filled last block it may be absent only if
    `last_block_optional`.
    """
    cells = table.cells[table.field_of["hash_ids"]]
    rows: list[list[Any]] = [cell.split() for cell in cells] if table.text else cells
    for row, ids in enumerate(rows):
        if type(ids) is not list or not set(map(type, ids)) <= {int, str}:
            raise table.error(row, "hash_ids", "is not a list of integers or strings; correct the line")
    count = np.array([len(ids) for ids in rows], np.int64)
    most = -(-input_tokens // block_tokens)
    least = input_tokens // block_tokens if last_block_optional else most
    bad = (input_tokens >= 1) & ((count < least) | (count > most))  # Workload.build rejects shorter prompts
    if bad.any():
        at = int(bad.argmax())
        size = f"{input_tokens[at]} tokens in blocks of {block_tokens}"
        raise table.error(at, "hash_ids", f"{count[at]} ids for {size}; expected {most[at]}")
    code: dict[int | str, int] = {}
    codes = [code.setdefault(id_, len(code)) for id_ in chain.from_iterable(rows)]
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(count)))
    prefix_request, prefix_tokens = prefixes_from_hashes(offsets, np.array(codes, np.int64), input_tokens, block_tokens)
    return {"prefix_request": prefix_request, "prefix_tokens": prefix_tokens}
