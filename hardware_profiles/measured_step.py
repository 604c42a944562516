"""Step times from a table of measured steps, in place of a sum of operators.

A step of m tokens with D decode requests whose contexts sum to KV tokens and prefill chunks of n tokens takes

    linear_s[m] + base_s[D] + kv_token_s[D] * KV + sum over chunks of own_s[n] + pair_s[n] * pairs

with pairs = context * n + n (n + 1) / 2. Each of the five is piecewise linear between the measured sizes and never
negative; their values there are fitted to all rows at once by least squares of relative errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from hardware_profiles.library import ProfileError
from hardware_profiles.table_files import read_table_file, require_columns

COLUMNS = {
    "tokens": "tokens of the step: decodes + prefill_tokens",
    "decodes": "decode requests, one token each",
    "kv_tokens": "sum of their contexts",
    "prefill_tokens": "tokens of its one prefill chunk, 0 without one",
    "context_tokens": "tokens of the chunk's sequence before the chunk",
    "measured_us": "time of the step",
}
# What rows cannot tell apart (base_s or own_s from linear_s) goes to linear_s: this pulls the former two to 0, by a
# weight that is small against a row's 1.
PULL = 1e-3


@dataclass(frozen=True)
class StepTimes:
    """Float seconds by integer size; entry 0 of each is 0."""

    linear_s: np.ndarray  # by tokens of the step
    own_s: np.ndarray  # by tokens of a chunk
    pair_s: np.ndarray  # by tokens of a chunk: for each (token, token it sees) pair
    base_s: np.ndarray  # by decode requests
    kv_token_s: np.ndarray  # by decode requests: for each token of their contexts


@dataclass(frozen=True)
class MeasuredStep:
    """The measured sizes, ascending, and the fitted seconds at each; `error` are the relative errors of the rows."""

    path: Path
    tokens: np.ndarray
    decodes: np.ndarray
    chunk_tokens: np.ndarray
    context_tokens: int  # the longest of one sequence, its chunk included; of decodes, their mean
    at_sizes: Mapping[str, np.ndarray]  # by the names of `StepTimes`
    error: np.ndarray  # (fitted - measured) / measured, one a row

    def step_times(self, max_num_batched_tokens: int, max_num_seqs: int, max_context_tokens: int) -> StepTimes:
        """The times of all steps within these limits: max_num_batched_tokens + 1 or max_num_seqs + 1 entries.

        Raises `ProfileError` where a limit lies beyond what was measured: nothing is extrapolated.
        """
        for limit, asked, column, measured in (
            ("max_num_batched_tokens", max_num_batched_tokens, "tokens", self.tokens[-1]),
            ("max_num_batched_tokens", max_num_batched_tokens, "prefill_tokens", self.chunk_tokens[-1]),
            ("max_num_seqs", max_num_seqs, "decodes", self.decodes[-1]),
            ("the longest context", max_context_tokens, "context of one sequence", self.context_tokens),
        ):
            if asked > measured:
                raise ProfileError(
                    f"{self.path}: {limit} is {asked}, but the largest measured {column} is {measured}; measure "
                    "larger steps or lower the limit"
                )
        batch, sequences = np.arange(max_num_batched_tokens + 1), np.arange(max_num_seqs + 1)
        return StepTimes(
            **{
                name: np.where(sizes > 0, np.interp(sizes, knots, self.at_sizes[name]), 0.0)
                for name, sizes, knots in (
                    ("linear_s", batch, self.tokens),
                    ("own_s", batch, self.chunk_tokens),
                    ("pair_s", batch, self.chunk_tokens),
                    ("base_s", sequences, self.decodes),
                    ("kv_token_s", sequences, self.decodes),
                )
            }
        )


def load_measured_step(path: Path) -> MeasuredStep:
    """The step times of the table at `path`, Parquet or CSV, with `COLUMNS`; others are not read.

    Raises `ProfileError`, naming column and row (counted from 1, without the header), for a malformed table, and for
    one that leaves a part of a step's time undetermined.
    """
    table = _checked(path, _read(path))
    pairs = table.context_tokens * table.prefill_tokens + table.prefill_tokens * (table.prefill_tokens + 1) / 2
    alone = (table.decodes == 0) | (table.prefill_tokens == 0)
    tokens = np.unique(table.tokens[alone])
    decodes = np.unique(table.decodes[table.decodes > 0])
    chunks = np.unique(table.prefill_tokens[table.prefill_tokens > 0])
    _determined(path, table, tokens, decodes, chunks)
    parts = {
        "linear_s": _shares(table.tokens, tokens),
        "base_s": _shares(table.decodes, decodes),
        "kv_token_s": _shares(table.decodes, decodes) * table.kv_tokens.to_numpy()[:, None],
        "own_s": _shares(table.prefill_tokens, chunks),
        "pair_s": _shares(table.prefill_tokens, chunks) * pairs.to_numpy()[:, None],
    }
    measured_s = table.measured_us.to_numpy() * 1e-6
    at_sizes = _fit(parts, measured_s)
    fitted_s = sum(parts[name] @ at_sizes[name] for name in parts)
    contexts = np.maximum(table.context_tokens + table.prefill_tokens, table.kv_tokens // table.decodes.clip(lower=1))
    return MeasuredStep(path, tokens, decodes, chunks, int(contexts.max()), at_sizes, fitted_s / measured_s - 1)


def _fit(parts: Mapping[str, np.ndarray], measured_s: np.ndarray) -> dict[str, np.ndarray]:
    """Seconds at each size, at least 0, with the least squares of relative errors.

    Columns are brought to a length of 1, as nanoseconds a token and milliseconds a step are far apart.
    """
    sizes = [part.shape[1] for part in parts.values()]
    rows = np.hstack(list(parts.values())) / measured_s[:, None]
    pulled = np.repeat([name in ("base_s", "own_s") for name in parts], sizes)
    pull = np.diag(PULL * pulled / np.median(measured_s))[pulled]
    design = np.vstack([rows, pull])
    lengths = np.linalg.norm(design, axis=0)
    target = np.concatenate([np.ones(len(rows)), np.zeros(len(pull))])
    solution, _ = nnls(design / lengths, target, maxiter=50 * design.shape[1])
    return dict(zip(parts, np.split(solution / lengths, np.cumsum(sizes)[:-1]), strict=True))


def _shares(values: pd.Series, sizes: np.ndarray) -> np.ndarray:
    """(rows, sizes): how much of each size's value linear interpolation takes; nothing for 0."""
    shares = np.column_stack([np.interp(values, sizes, one) for one in np.eye(len(sizes))])
    return shares * (values.to_numpy() > 0)[:, None]


def _read(path: Path) -> pd.DataFrame:
    table = read_table_file(path)
    require_columns(path, table.columns, COLUMNS)
    return table[list(COLUMNS)]


def _checked(path: Path, read: pd.DataFrame) -> pd.DataFrame:
    """The table as numbers, every row of which is a step."""
    table = read.apply(pd.to_numeric, errors="coerce")
    for column in COLUMNS:
        values = table[column]
        _refuse(path, ~np.isfinite(values) | (values < 0), column, read, "expected a number of at least 0")
        if column != "measured_us":
            _refuse(path, values != values.round(), column, read, "expected a whole number")
    total = table.decodes + table.prefill_tokens
    no_decode, no_chunk = table.decodes == 0, table.prefill_tokens == 0
    for column, wrong, expected in (
        ("measured_us", table.measured_us == 0, "expected a time above 0"),
        ("tokens", table.tokens == 0, "expected a step of one token at least"),
        ("tokens", table.tokens != total, "expected decodes + prefill_tokens"),
        ("kv_tokens", table.kv_tokens < table.decodes, "expected at least one for each decode request"),
        ("kv_tokens", no_decode & (table.kv_tokens > 0), "expected 0 without decode requests"),
        ("context_tokens", no_chunk & (table.context_tokens > 0), "expected 0 without a prefill chunk"),
    ):
        _refuse(path, wrong, column, read, expected)
    return table.astype({column: np.int64 for column in COLUMNS if column != "measured_us"})


def _refuse(path: Path, wrong: pd.Series, column: str, table: pd.DataFrame, expected: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ProfileError(f"{path}: row {row + 1}: {column}: {expected}, found {table[column].iloc[row]}")


def _determined(path: Path, table: pd.DataFrame, tokens: np.ndarray, decodes: np.ndarray, chunks: np.ndarray) -> None:
    """Refuses a table whose rows do not tell each part of a step's time."""
    for column, sizes in (("tokens", tokens), ("decodes", decodes), ("prefill_tokens", chunks)):
        if len(sizes) == 0 or sizes[0] != 1:
            found = f"the smallest is {sizes[0]}" if len(sizes) else "there is none"
            where = " without decodes or without a chunk" if column == "tokens" else ""
            raise ProfileError(f"{path}: {column}: expected rows with 1{where}, {found}; nothing is extrapolated")
    for column, sizes, other in (("decodes", decodes, "kv_tokens"), ("prefill_tokens", chunks, "context_tokens")):
        for size in sizes:
            if table[other][table[column] == size].nunique() < 2:
                raise ProfileError(f"{path}: {column} {size}: expected two {other} or more; they tell a context's time")
    if table.tokens.max() > tokens[-1]:
        row = int(np.argmax(table.tokens > tokens[-1]))
        raise ProfileError(
            f"{path}: row {row + 1}: tokens: {table.tokens.iloc[row]} with both decodes and a chunk, but the largest "
            f"step with one of them alone has {tokens[-1]}; measure a chunk of {table.tokens.max()} tokens alone"
        )
