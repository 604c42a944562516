"""Measured runs of an engine: a table of runs, and a table of what each of their requests met."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import SimError, unknown_name
from .engine import MeasuredEngine
from .names import engine_profile, gpu_profile, group_name, model_profile, precision_name

RUN_COLUMNS = (
    "run",
    "model",
    "gpu",
    "engine",
    "tensor_parallelism",
    "max_num_seqs",
    "max_num_batched_tokens",
    "kv_blocks_total_gpu",
    "block_size",
    "server_output_tokens",
)
REQUEST_COLUMNS = ("run", "index", "arrival_s", "input_tokens", "prompt_id", "failed", "ttft_s", "e2e_s")


@dataclass(frozen=True)
class EngineRun(MeasuredEngine):
    """One measured run of one engine.

    ``num_blocks`` are the engine's own KV blocks, ``output_tokens`` what the server generated for every request.
    ``requests`` has a row a request in order of arrival: index, arrival_s, input_tokens, prompt_id (equal ids are equal
    prompts), failed (the client gave up), ttft_s and e2e_s (seconds; for a failed request NaN and the time until it was
    given up).
    """

    name: str
    max_num_seqs: int
    max_num_batched_tokens: int
    num_blocks: int
    block_size: int
    output_tokens: int
    requests: pd.DataFrame

    @property
    def group(self) -> str:
        """Model, GPU, precision and parallelism: runs of which errors are summarised together."""
        return group_name(self.model, self.gpu, self.precision, f"TP{self.tp}")

    @property
    def answered(self) -> pd.Series:
        """Of each request, whether the client waited for its end."""
        return ~self.requests["failed"]

    @property
    def saturated(self) -> bool:
        """Whether more came than the engine could serve: clients gave up, or the last tenth of those answered waited
        longer for the first token than for all others.
        """
        answered = self.requests[self.answered]
        last = answered.tail(max(1, len(answered) // 10))
        return bool(self.requests["failed"].any() or last["ttft_s"].mean() > (last["e2e_s"] - last["ttft_s"]).mean())


def read_runs(runs_path: Path, requests_path: Path) -> list[EngineRun]:
    """The runs of a CSV file, with their requests from a Parquet file; docs/validation.md lists the columns.

    Raises `SimError` that names the file and the column, and the run where it is one run's fault.
    """
    runs, requests = read_table(runs_path, RUN_COLUMNS), read_table(requests_path, REQUEST_COLUMNS)
    reject_gaps(runs, [*RUN_COLUMNS, *({"precision"} & set(runs.columns))], runs_path)
    reject_gaps(requests, [name for name in REQUEST_COLUMNS if name != "ttft_s"], requests_path)
    if requests["failed"].dtype != bool:
        raise SimError(f"{requests_path}: failed: expected true or false, found {requests['failed'].iloc[0]!r}")
    strangers = sorted(set(requests["run"]) - set(runs["run"]))
    if strangers:
        raise SimError(f"{requests_path}: " + unknown_name("run", strangers[0], runs["run"]))
    by_run = {str(name): part for name, part in requests.groupby("run", sort=False)}
    return [_run(row, by_run, runs_path, requests_path) for _, row in runs.iterrows()]


def _run(row: pd.Series, by_run: dict[str, pd.DataFrame], runs_path: Path, requests_path: Path) -> EngineRun:
    name = str(row["run"])
    where = f"{runs_path}: run {name}"
    if name not in by_run:
        raise SimError(f"{requests_path}: run {name} has no requests; leave it out of {runs_path} or add them")
    requests = by_run[name].sort_values(["arrival_s", "index"], kind="stable").reset_index(drop=True)
    unanswered = ~requests["failed"] & requests["ttft_s"].isna()
    if unanswered.any():
        index = requests.loc[unanswered, "index"].iloc[0]
        raise SimError(f"{requests_path}: run {name}: ttft_s: index {index} has none though it did not fail")
    if requests["failed"].all():
        raise SimError(f"{requests_path}: run {name}: failed: no request was answered, so nothing can be compared")
    return EngineRun(
        name=name,
        model=model_profile(str(row["model"]), where),
        gpu=gpu_profile(str(row["gpu"]), where),
        serving_engine=engine_profile(str(row["engine"]), where),
        precision=precision_name(str(row.get("precision", "bf16"))),
        tp=_count(row, "tensor_parallelism", where),
        pp=1,
        max_num_seqs=_count(row, "max_num_seqs", where),
        max_num_batched_tokens=_count(row, "max_num_batched_tokens", where),
        num_blocks=_count(row, "kv_blocks_total_gpu", where),
        block_size=_count(row, "block_size", where),
        output_tokens=_count(row, "server_output_tokens", where),
        requests=requests,
    )


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV or, by its suffix, a Parquet table that has ``columns``. Raises `SimError` that names the file."""
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except OSError as error:
        raise SimError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, UnicodeDecodeError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise SimError(f"{path}: cannot be read as {kind}: {' '.join(str(error).split())}") from None
    for column in columns:
        if column not in table.columns:
            raise SimError(f"{path}: column {column!r} is missing (has {', '.join(map(str, table.columns))})")
    if table.empty:
        raise SimError(f"{path}: has no rows")
    return table


def reject_gaps(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise `SimError` with the first row that has no value in one of ``columns``."""
    for column in columns:
        if table[column].isna().any():
            raise SimError(f"{path}: {column}: row {int(table[column].isna().argmax())} is empty; fill it")


def _count(row: pd.Series, column: str, where: str) -> int:
    value = pd.to_numeric(row[column], errors="coerce")
    if not value >= 1 or value != int(value):
        raise SimError(f"{where}: {column}: expected a whole number from 1, found {row[column]!r}")
    return int(value)
