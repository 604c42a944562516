"""Result folders, as `servesim run --out` writes them (docs/results.md), read column by column."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import SimError
from ..result import SCHEMA_VERSION

COLUMNS = {
    "requests": (
        *("arrival_s", "finish_s", "ttft_s", "tpot_s", "e2e_s"),
        *("instance", "input_tokens", "hit_tokens", "rejected"),
    ),
    "itl": ("low_s", "high_s", "count"),
    "series": (
        *("time_s", "running", "waiting", "kv_used_fraction", "busy_fraction"),
        *("prefill_only_iterations", "mixed_iterations", "decode_only_iterations", "prefill_tokens", "decode_tokens"),
    ),
    "slo_over_time": ("start_s", "slo_class", "requests", "good_requests"),
}
SHOWN_SHARE = 0.99  # of the requests are finished when charts over time end: the last turns of few talks may trail on
OPTIONAL = "slo_over_time"  # only of a scenario with objectives


@dataclass(frozen=True)
class Run:
    """A result folder; ``label`` is how figures and tables name it, ``number`` its place among the others.

    Charts over time show all runs until ``shown_s``.
    """

    label: str
    number: int
    folder: Path
    summary: dict[str, Any]
    shown_s: float = float("inf")

    @property
    def instances(self) -> int:
        return len(self.summary["instances"])

    @property
    def has_objectives(self) -> bool:
        return self._path(OPTIONAL).exists()

    def table(self, name: str, *columns: str) -> pd.DataFrame:
        """These columns of NAME.parquet, and no others: they may have millions of rows. Without refused requests."""
        refused = [("rejected", "==", False)] if name == "requests" else None
        return pq.read_table(self._path(name), columns=list(columns), filters=refused).to_pandas()

    def over_time(self, time: str, *columns: str) -> list[np.ndarray]:
        """Of the requests whose ``time`` column is shown, that and the others."""
        table = self.table("requests", time, *columns)
        return [column.to_numpy() for _, column in table[table[time] < self.shown_s].items()]

    def sampled(self, *columns: str) -> list[np.ndarray]:
        """Sample times that are shown, s, then for each column of series.parquet an array [times, instances]."""
        table = self.table("series", "time_s", *columns)
        if len(table) % self.instances:
            raise SimError(
                f"{self._path('series')}: {len(table)} rows are not those of {self.instances} instances, which "
                "summary.json has; take both from one run"
            )
        time_s, *wide = (table[name].to_numpy().reshape(-1, self.instances) for name in ("time_s", *columns))
        shown = int(np.searchsorted(time_s[:, 0], self.shown_s, side="right"))
        return [time_s[:shown, 0], *(column[:shown] for column in wide)]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders, checked; labelled by the folders' names, or their paths where those are alike."""
    resolved = [folder.resolve() for folder in folders]
    for at, folder in enumerate(folders):
        if resolved[at] in resolved[:at]:
            raise SimError(f"{folder}: is given twice")
    names = [folder.name for folder in resolved]
    labels = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    runs = [_read_run(folder, label, at) for at, (folder, label) in enumerate(zip(folders, labels, strict=True))]
    for run in runs:
        if run.summary["rejected"] == run.summary["requests"]:
            raise SimError(f"{run.folder}: all of its requests were refused, so there is nothing to draw; leave it out")
    shown_s = max(float(run.table("requests", "finish_s")["finish_s"].quantile(SHOWN_SHARE)) for run in runs)
    return [replace(run, shown_s=shown_s) for run in runs]


def _read_run(folder: Path, label: str, number: int) -> Run:
    run = Run(label, number, folder, _read_summary(folder))
    for name, columns in COLUMNS.items():
        path = folder / f"{name}.parquet"
        if name != OPTIONAL or path.exists():
            _check_columns(path, columns)
    return run


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        runs = sorted(inner.parent.name for inner in folder.glob("*/summary.json"))
        remedy = f"give its folders: {', '.join(runs)}" if runs else "give one that `servesim run --out` wrote"
        raise SimError(f"{folder}: is no result folder, as it has no summary.json; {remedy}") from None
    except (ValueError, UnicodeDecodeError):
        raise SimError(f"{path}: is no JSON; write it again with `servesim run --out`") from None
    version = summary.get("schema_version") if isinstance(summary, dict) else None
    if version != SCHEMA_VERSION:
        raise SimError(
            f"{path}: schema_version: expected {SCHEMA_VERSION}, found {version}; write it again with "
            "`servesim run --out`"
        )
    return summary


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    again = "write it again with `servesim run --out`"
    try:
        found = pq.read_schema(path).names
    except FileNotFoundError:
        raise SimError(f"{path}: is missing; {again}") from None
    except (pa.ArrowInvalid, OSError):
        raise SimError(f"{path}: is no Parquet file; {again}") from None
    lacking = [column for column in columns if column not in found]
    if lacking:
        raise SimError(f"{path}: has no column {', '.join(lacking)}; {again} of this version")
