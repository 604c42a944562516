"""A `Workload` as files that other tools read: Mooncake JSONL, vLLM's custom benchmark JSONL, plain CSV."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from workloads.errors import WorkloadError
from workloads.traces.mooncake import BLOCK_TOKENS
from workloads.workload import COLUMNS, Workload

# Common short words, which byte-pair vocabularies tend to have as one token.
_TEXT = (
    "the of and to in is for that on with as was at by be this from are it an or not have you he his which but they "
    "all one we had her were there been their has will would can if more when who so about up out time some them my "
    "what she no two its only also first people new over after into then than other could like any these most may "
    "should very where such many well back how through way down because good even our used year work"
)
WORDS = tuple(_TEXT.split())


def to_csv(workload: Workload, path: str | Path) -> None:
    """One column for each of the workload's, a row per request; `load(path, "csv")` reads it back.

    A follow-up's arrival is an empty cell. Categories are written by name, so that they come back numbered in
    the order in which they first occur.
    """
    columns = {name: getattr(workload, name) for name in COLUMNS}
    columns["category"] = np.array(workload.category_names, object)[workload.category]
    pd.DataFrame(columns).to_csv(path, index=False, lineterminator="\n")


def to_mooncake(workload: Workload, path: str | Path) -> None:
    """Mooncake's format: a line per request in order of time, with an id for each 512-token block of the prompt.

    Two prompts have the same id where they have the same tokens from the start to the end of the block, so that
    `load(path, "mooncake")` gives back the sharing of prompts by whole blocks (and of whole prompts). Client,
    session, turn, category and priority have no place in the format. Raises WorkloadError if a request has no
    arrival time of its own.
    """
    _require_times(workload, "a Mooncake trace")
    offsets, ids = block_ids(workload, BLOCK_TOKENS)
    with open(path, "w") as file:
        for row in np.argsort(workload.arrival_s, kind="stable").tolist():
            request = {
                "timestamp": workload.arrival_s[row] * 1e3,
                "input_length": int(workload.input_tokens[row]),
                "output_length": int(workload.output_tokens[row]),
                "hash_ids": ids[offsets[row] : offsets[row + 1]].tolist(),
            }
            file.write(json.dumps(request) + "\n")


def block_ids(workload: Workload, block_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids of the prompts' blocks, a partly filled last one included: row r's are `ids[offsets[r]:offsets[r + 1]]`.

    Rows have equal ids exactly where their prompts are equal from the start to the end of the block.
    """
    inputs = workload.input_tokens.astype(np.int64)
    full, partial = _full_block_ids(
        workload.prefix_request, workload.prefix_tokens, inputs, workload.output_tokens, block_tokens
    )
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(-(-inputs // block_tokens))))
    ids = np.empty(offsets[-1], np.int64)
    last = np.zeros(len(ids), np.bool_)
    last[offsets[1:][partial] - 1] = True
    ids[~last] = full
    # A prompt is known by its length and the row that was the first to have its last token.
    owner = np.arange(len(workload))
    while (shared := workload.prefix_tokens[owner] >= inputs).any():
        owner = np.where(shared, workload.prefix_request[owner], owner)
    prompts = np.stack((owner, inputs), axis=1)[partial]
    number = np.unique(prompts, axis=0, return_inverse=True)[1] if len(prompts) else np.empty(0, np.int64)
    ids[last] = number.ravel() + (full.max() + 1 if len(full) else 0)
    return offsets, ids


@njit(cache=True)
def _full_block_ids(
    prefix_request: NDArray[np.int64],
    prefix_tokens: NDArray[np.int32],
    input_tokens: NDArray[np.int64],
    output_tokens: NDArray[np.int32],
    block_tokens: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ids of all full blocks of the prompts, row by row, and which rows end in a partly filled one."""
    rows = len(input_tokens)
    first_block = prefix_tokens // block_tokens  # of those that the row does not share
    base = np.empty(rows, np.int64)  # block b of row r, if its own, has the id base[r] + b
    next_id = 0
    for row in range(rows):
        base[row] = next_id - first_block[row]
        next_id += (input_tokens[row] + output_tokens[row]) // block_tokens - first_block[row]
    count = input_tokens // block_tokens
    ids = np.empty(count.sum(), np.int64)
    begin = 0
    for row in range(rows):
        owner, end = row, count[row]
        while end > 0:
            for block in range(first_block[owner], end):
                ids[begin + block] = base[owner] + block
            end = min(end, first_block[owner])
            owner = prefix_request[owner]
        begin += count[row]
    return ids, input_tokens % block_tokens > 0


def to_vllm(workload: Workload, path: str | Path) -> None:
    """vLLM's custom benchmark dataset: a line per request, in order of time, with `prompt` and `output_tokens`.

    The prompt is placeholder text of one short word per token; prompts share text exactly as the workload shares
    tokens. A tokenizer may count a few more or less, and a server's answers are its own, so that a follow-up does
    not find its parent's output in the cache. The format has no arrival times. See docs/workloads.md for how to
    play it. Raises WorkloadError if a request has no arrival time of its own.
    """
    _require_times(workload, "the order of the prompts")
    words = np.array(WORDS, object)
    inputs = workload.input_tokens.astype(np.int64)
    with open(path, "w") as file:
        for row in np.argsort(workload.arrival_s, kind="stable").tolist():
            chosen = _prompt_words(row, workload.prefix_request, workload.prefix_tokens, inputs[row], len(WORDS))
            request = {"prompt": " ".join(words[chosen]), "output_tokens": int(workload.output_tokens[row])}
            file.write(json.dumps(request) + "\n")


@njit(cache=True)
def _prompt_words(
    row: int,
    prefix_request: NDArray[np.int64],
    prefix_tokens: NDArray[np.int32],
    tokens: int,
    words: int,
) -> NDArray[np.int64]:
    """The words of a prompt: each is a hash of its position and of the row that was the first to have it."""
    chosen = np.empty(tokens, np.int64)
    owner, end = row, tokens
    while end > 0:
        for at in range(prefix_tokens[owner], end):
            z = np.uint64(owner) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(at)  # mixed as splitmix64 does
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            chosen[at] = np.int64((z ^ (z >> np.uint64(31))) % np.uint64(words))
        end = min(end, prefix_tokens[owner])
        owner = prefix_request[owner]
    return chosen


def _require_times(workload: Workload, what: str) -> None:
    follow_up = workload.parent >= 0
    if follow_up.any():
        problem = f"is a follow-up and has no time of its own, which {what} needs; export open_loop(workload)"
        raise WorkloadError(problem, "parent", int(follow_up.argmax()))
