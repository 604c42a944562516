"""The one columnar type for a workload: a row per request, in NumPy columns."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from workloads.errors import WorkloadError, did_you_mean
from workloads.prefixes import prefixes_among

# column -> (dtype, value where the column is not given; None = it must be given)
COLUMNS: dict[str, tuple[type[np.number], int | float | None]] = {
    "arrival_s": (np.float64, None),
    "input_tokens": (np.int32, None),
    "output_tokens": (np.int32, None),
    "category": (np.int32, 0),
    "client": (np.int32, -1),
    "session": (np.int64, -1),
    "turn": (np.int32, 0),
    "parent": (np.int64, -1),
    "think_s": (np.float64, 0.0),
    "priority": (np.int32, 0),
    "prefix_request": (np.int64, -1),
    "prefix_tokens": (np.int32, 0),
}

_METADATA_KEY = b"servesim.workload"
_FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Workload:
    """N requests; the row number is the request id. Make one with `Workload.build`; columns are read-only.

    arrival_s: when a root request arrives, in seconds; NaN for a follow-up. Rows may be in any order of time.
    input_tokens, output_tokens: lengths of the prompt and of the answer, at least 1.
    category: index into `category_names`.
    client, session: who sends it and in which conversation; -1 for none.
    turn: position in the conversation, from 0.
    parent: the earlier row that this request follows up on, -1 for a root. A follow-up arrives `think_s`
    seconds after
        its parent finishes.
    priority: smaller runs first.
    prefix_request, prefix_tokens: the first n tokens of the prompt are the first n of an earlier row's
    sequence (its
        prompt, then its output); the tokens after them occur in no earlier row. -1 and 0 for none.
    """

    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    category: NDArray[np.int32]
    client: NDArray[np.int32]
    session: NDArray[np.int64]
    turn: NDArray[np.int32]
    parent: NDArray[np.int64]
    think_s: NDArray[np.float64]
    priority: NDArray[np.int32]
    prefix_request: NDArray[np.int64]
    prefix_tokens: NDArray[np.int32]
    category_names: tuple[str, ...]

    @classmethod
    def build(
        cls,
        *,
        arrival_s: ArrayLike,
        input_tokens: ArrayLike,
        output_tokens: ArrayLike,
        category_names: Sequence[str] = ("default",),
        **optional: ArrayLike,
    ) -> "Workload":
        """A validated workload of one-dimensional columns of equal length N >= 1.

        `optional` are the other columns of the class; where they are not given, requests stand alone: no
        client, session, parent or prefix; turn and priority 0. Raises WorkloadError that names the column
        and the first bad row.
        """
        required = {"arrival_s": arrival_s, "input_tokens": input_tokens, "output_tokens": output_tokens}
        given = required | optional
        for name in given:
            if name not in COLUMNS:
                raise WorkloadError(f"unknown column '{name}'; {did_you_mean(name, COLUMNS)}")
        rows = len(_column("arrival_s", arrival_s, np.float64))
        if rows == 0:
            raise WorkloadError("a workload needs at least one request")
        columns: dict[str, Any] = {}
        for name, (dtype, default) in COLUMNS.items():
            values = given[name] if name in given else np.full(rows, default, dtype)
            columns[name] = _column(name, values, dtype)
            if len(columns[name]) != rows:
                raise WorkloadError(f"{name}: has {len(columns[name])} rows, arrival_s has {rows}")
        workload = cls(**columns, category_names=tuple(category_names))
        workload._validate()
        return workload

    def _validate(self) -> None:
        def reject(name: str, bad: NDArray[np.bool_], problem: str) -> None:
            _reject(name, getattr(self, name), bad, problem)

        names = self.category_names
        if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
            raise WorkloadError(f"category_names: {names} are not different strings")
        reject("category", (self.category < 0) | (self.category >= len(names)), "is no index of category_names")
        reject("input_tokens", self.input_tokens < 1, "is below 1; a prompt has at least one token")
        reject("output_tokens", self.output_tokens < 1, "is below 1; an answer has at least one token")
        reject("client", self.client < -1, "is below -1, which stands for none")
        reject("session", self.session < -1, "is below -1, which stands for none")
        reject("turn", self.turn < 0, "is below 0, the first turn")

        reject("parent", ~_refers_back(self.parent), "is no earlier row; use -1 for none")
        root, timeless, think_s = self.parent < 0, np.isnan(self.arrival_s), self.think_s
        reject("arrival_s", root & timeless, "is no time; a request without a parent needs one")
        reject("arrival_s", ~root & ~timeless, "is a time, but a follow-up has a parent instead; use NaN")
        reject("arrival_s", (self.arrival_s < 0) | np.isinf(self.arrival_s), "is not a finite time from 0 on")
        reject("think_s", ~(np.isfinite(think_s) & (think_s >= 0)), "is not a finite time from 0 on")
        reject("think_s", root & (think_s != 0), "is given for a request without a parent; use 0")

        other, shared = self.prefix_request, self.prefix_tokens
        reject("prefix_request", ~_refers_back(other), "is no earlier row; use -1 for none")
        sequence_tokens = self.input_tokens.astype(np.int64) + self.output_tokens
        reject("prefix_tokens", (other < 0) & (shared != 0), "is given without a prefix_request; use 0")
        reject("prefix_tokens", (other >= 0) & (shared < 1), "is below 1; use prefix_request -1 for no prefix")
        reject("prefix_tokens", shared > self.input_tokens, "is more than the prompt has")
        too_long = (other >= 0) & (shared > sequence_tokens[other])
        reject("prefix_tokens", too_long, "is more than prefix_request has, prompt and output together")

    def __len__(self) -> int:
        return len(self.arrival_s)

    def __eq__(self, other: object) -> bool:
        """Same columns (NaN equals NaN) and category names."""
        if not isinstance(other, Workload):
            return NotImplemented
        pairs = [(getattr(self, name), getattr(other, name)) for name in COLUMNS]
        same = all(np.array_equal(a, b, equal_nan=a.dtype == np.float64) for a, b in pairs)
        return same and self.category_names == other.category_names

    def _with(self, **changes: ArrayLike) -> "Workload":
        columns = {name: getattr(self, name) for name in COLUMNS}
        return Workload.build(**{**columns, **changes}, category_names=self.category_names)

    # --- what is in it ---

    @property
    def span_s(self) -> float:
        """Seconds from the first to the last root arrival."""
        return float(np.nanmax(self.arrival_s) - np.nanmin(self.arrival_s))

    def summary(self) -> dict[str, int | float]:
        """Counts, tokens, rate and sharing.

        `root_rate_per_s` is one over the mean gap between root arrivals, NaN if they are all at one instant.
        `prefix_hit_ratio` is the share of prompt tokens that an infinite cache of single tokens would hit.
        """
        roots = int(np.count_nonzero(self.parent < 0))
        input_tokens = int(self.input_tokens.sum(dtype=np.int64))
        output_tokens = int(self.output_tokens.sum(dtype=np.int64))
        return {
            "requests": len(self),
            "roots": roots,
            "sessions": len(np.unique(self.session[self.session >= 0])),
            "clients": len(np.unique(self.client[self.client >= 0])),
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "mean_input_tokens": input_tokens / len(self),
            "mean_output_tokens": output_tokens / len(self),
            "span_s": self.span_s,
            "root_rate_per_s": (roots - 1) / self.span_s if self.span_s > 0 else float("nan"),
            "prefix_hit_ratio": int(self.prefix_tokens.sum(dtype=np.int64)) / input_tokens,
        }

    # --- other workloads made from it ---

    def scale_time(self, factor: float) -> "Workload":
        """Everything `factor` times slower: arrivals and think times are multiplied by it."""
        _require_positive("scale_time", factor)
        return self._with(arrival_s=self.arrival_s * factor, think_s=self.think_s * factor)

    def scale_rate(self, factor: float) -> "Workload":
        """Requests come at `factor` times the rate: arrivals are divided by it, think times stay."""
        _require_positive("scale_rate", factor)
        return self._with(arrival_s=self.arrival_s / factor)

    def take(self, rows: ArrayLike) -> "Workload":
        """Only these rows (strictly increasing numbers), less the follow-ups of which an ancestor is missing.

        Every two rows share exactly as many tokens as before, also where they shared them with a row that
        is gone.
        """
        index = np.asarray(rows)
        if index.ndim != 1 or index.dtype.kind not in "iu" or (index[1:] <= index[:-1]).any():
            raise WorkloadError("take: rows must be strictly increasing row numbers")
        if len(index) and (index[0] < 0 or index[-1] >= len(self)):
            raise WorkloadError(f"take: rows must lie from 0 to {len(self) - 1}, got {index[0]} to {index[-1]}")
        kept = np.zeros(len(self), np.bool_)
        kept[index] = True
        kept = self._with_all_ancestors(kept)
        if not kept.any():
            raise WorkloadError("take: no request is left; keep at least one root")
        prefix_request, prefix_tokens = prefixes_among(kept, self.prefix_request, self.prefix_tokens)
        new_row = np.cumsum(kept) - 1
        columns = {name: getattr(self, name)[kept] for name in COLUMNS}
        columns["parent"] = _renumber(self.parent[kept], new_row)
        columns["prefix_request"] = _renumber(prefix_request[kept], new_row)
        columns["prefix_tokens"] = prefix_tokens[kept]
        return self._with(**columns)

    def _with_all_ancestors(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`kept` without the rows of which an ancestor is not kept."""
        ancestor = self.parent
        while (has := ancestor >= 0).any():  # looks twice as far back each time
            kept = kept & (~has | kept[ancestor])
            ancestor = np.where(has, ancestor[ancestor], -1)
        return kept

    def head(self, requests: int) -> "Workload":
        """The first `requests` rows."""
        if not 1 <= requests <= len(self):
            raise WorkloadError(f"head: requests must be from 1 to {len(self)}, got {requests}")
        return self.take(np.arange(requests))

    def slice(self, start_s: float, end_s: float) -> "Workload":
        """The roots that arrive in [start_s, end_s) and all their follow-ups; times count from `start_s`."""
        root = self.parent < 0
        inside = (self.arrival_s >= start_s) & (self.arrival_s < end_s)
        if not inside.any():
            first, last = np.nanmin(self.arrival_s), np.nanmax(self.arrival_s)
            raise WorkloadError(
                f"slice: no request arrives in [{start_s}, {end_s}) s; arrivals are from {first} to {last} s"
            )
        part = self.take(np.flatnonzero(inside | ~root))
        return part._with(arrival_s=part.arrival_s - start_s)

    def jitter(self, seed: int) -> "Workload":
        """Spread roots that share an `arrival_s`, in order, uniformly over the gap to the next distinct one.

        For traces whose clock ticks coarsely. The last tick spreads over the median gap; arrivals that nobody
        shares stay. Raises WorkloadError if all roots arrive at one instant.
        """
        order = np.flatnonzero(self.parent < 0)
        order = order[np.argsort(self.arrival_s[order], kind="stable")]
        ticks, tick, count = np.unique(self.arrival_s[order], return_inverse=True, return_counts=True)
        shared = count[tick] > 1
        if len(ticks) == 1 and shared.any():
            raise WorkloadError("jitter: all requests arrive at one instant; there is no gap to spread them over")
        gaps = np.diff(ticks)
        gaps = np.append(gaps, np.median(gaps) if len(gaps) else 0.0)
        draw = np.random.default_rng(seed).random(len(order))
        draw = draw[np.lexsort((draw, tick))]  # ascending within each tick
        arrival_s = self.arrival_s.copy()
        arrival_s[order] += np.where(shared, draw * gaps[tick], 0.0)
        return self._with(arrival_s=arrival_s)

    def repeat(self, times: int) -> "Workload":
        """The workload played `times` times in all, one after another, the span plus the mean gap apart.

        Requests and sessions of each round are new: rounds share no prefix. Clients stay the same.
        """
        if times < 1:
            raise WorkloadError(f"repeat: times must be at least 1, got {times}")
        roots = np.count_nonzero(self.parent < 0)
        if times > 1 and self.span_s == 0:
            raise WorkloadError("repeat: all requests arrive at one instant; there is no span to repeat after")
        period_s = self.span_s * roots / (roots - 1) if times > 1 else 0.0
        round_ = np.repeat(np.arange(times), len(self))
        columns = {name: np.tile(getattr(self, name), times) for name in COLUMNS}
        columns["arrival_s"] += round_ * period_s
        sessions = int(self.session.max()) + 1
        if sessions * times > np.iinfo(np.int64).max:
            raise WorkloadError(f"repeat: no new ids beyond session {sessions - 1}; number sessions from 0")
        for name, ids in (("parent", len(self)), ("prefix_request", len(self)), ("session", sessions)):
            columns[name] += np.where(columns[name] >= 0, round_ * ids, 0)
        return self._with(**columns)

    # --- Parquet ---

    def to_parquet(self, path: str | Path) -> None:
        """Write the workload to one Parquet file; `from_parquet` gives back an equal one."""
        columns: dict[str, pa.Array] = {name: pa.array(getattr(self, name)) for name in COLUMNS}
        columns["category"] = pa.DictionaryArray.from_arrays(columns["category"], pa.array(self.category_names))
        about = {"version": _FORMAT_VERSION, "category_names": self.category_names}
        table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(about)})
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def from_parquet(cls, path: str | Path) -> "Workload":
        """Read what `to_parquet` wrote. Raises WorkloadError naming the file."""
        if Path(path).is_dir():
            raise WorkloadError(f"{path}: is a directory; give a file")
        if not Path(path).is_file():
            raise WorkloadError(f"{path}: no such file")
        try:
            table = pq.ParquetFile(path).read()
        except (pa.ArrowInvalid, OSError) as error:
            raise WorkloadError(f"{path}: not readable as Parquet ({str(error).splitlines()[0]})") from None
        metadata = table.schema.metadata or {}
        if _METADATA_KEY not in metadata:
            raise WorkloadError(f"{path}: not written by Workload.to_parquet (no '{_METADATA_KEY.decode()}' metadata)")
        about = json.loads(metadata[_METADATA_KEY])
        if about["version"] != _FORMAT_VERSION:
            raise WorkloadError(f"{path}: format version {about['version']}, expected {_FORMAT_VERSION}")
        for name in table.column_names:
            if name not in COLUMNS:
                raise WorkloadError(f"{path}: unknown column '{name}'; {did_you_mean(name, COLUMNS)}")
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            if name not in table.column_names:
                raise WorkloadError(f"{path}: no column '{name}'; write the file with Workload.to_parquet")
            if table[name].null_count:
                raise WorkloadError(f"{path}: {name}: {table[name].null_count} empty cells; fill them")
            columns[name] = table[name]
        labels = columns["category"].cast(pa.string())
        codes = pc.index_in(labels, value_set=pa.array(about["category_names"], pa.string()))
        if codes.null_count:
            raise WorkloadError(f"{path}: category: holds names that are not among {about['category_names']}")
        columns["category"] = codes
        try:
            return cls.build(
                **{name: np.asarray(values) for name, values in columns.items()},
                category_names=about["category_names"],
            )
        except WorkloadError as error:
            raise WorkloadError(f"{path}: {error}") from None


def _column(name: str, values: ArrayLike, dtype: type[np.number]) -> NDArray[Any]:
    """An own, read-only copy of `values` in exactly `dtype`; nothing is rounded or wrapped."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise WorkloadError(f"{name}: is not a one-dimensional column of numbers") from None
    if array.ndim != 1:
        raise WorkloadError(f"{name}: has {array.ndim} dimensions, a column has 1")
    integer = np.issubdtype(dtype, np.integer)
    if len(array) and array.dtype.kind not in ("iu" if integer else "iuf"):
        raise WorkloadError(f"{name}: holds {array.dtype}, expected {'integers' if integer else 'numbers'}")
    if integer and len(array):
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        _reject(name, array, (array < limits.min) | (array > limits.max), f"does not fit {np.dtype(dtype)}")
    column = np.array(array, dtype)
    column.setflags(write=False)
    return column


def _reject(name: str, values: NDArray[Any], bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise WorkloadError(f"{values[row]} {problem}", name, row)


def _refers_back(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (rows >= -1) & (rows < np.arange(len(rows)))


def _renumber(rows: NDArray[np.int64], new_row: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(rows >= 0, new_row[rows], -1)


def _require_positive(what: str, factor: float) -> None:
    if not 0 < factor < float("inf"):
        raise WorkloadError(f"{what}: factor must be a positive number, got {factor}")
