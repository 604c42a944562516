"""The files of a ServeGen folder as arrays, checked cell by cell, and a cache of them."""

import dataclasses
import hashlib
import json
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals import FAMILIES, GAMMA, LEAST_CV, MOST_CV
from workloads.errors import TraceError, WorkloadError, did_you_mean
from workloads.lengths import Empirical

TRACE_COLUMNS = ("start", "rate", "cv", "family", "shape", "scale")
MEDIA_KINDS = ("audio", "image", "video")
# ServeGen's categories: language, reason, multimodal.
CATEGORY_FIELDS = (
    ("input_tokens", "output_tokens"),
    ("input_tokens", "output_tokens", "reason_ratio"),
    ("text_tokens", "output_tokens", *(f"{kind}_{what}" for kind in MEDIA_KINDS for what in ("count", "tokens"))),
)
_CACHE_VERSION = 1


@dataclass(frozen=True, eq=False)
class Folder:
    """C clients over W windows, and E entries (a client's laws from a time on) of F fields each.

    ids: (C,). edges_s: (W + 1,). rate_per_s, cv, family: (C, W), as in `Arrivals`.
    fields: (F,) names. entry_client, entry_start_s: (E,), by client, then start.
    Law (e, f) is `values` and `probabilities` from `offsets[e * F + f]` to the next offset; it may be empty.
    """

    ids: NDArray[np.int64]
    edges_s: NDArray[np.float64]
    rate_per_s: NDArray[np.float64]
    cv: NDArray[np.float64]
    family: NDArray[np.int8]
    fields: NDArray[np.str_]
    entry_client: NDArray[np.int64]
    entry_start_s: NDArray[np.float64]
    offsets: NDArray[np.int64]
    values: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def law(self, entry: int, column: int) -> Empirical | None:
        """None where the law is empty."""
        law = entry * len(self.fields) + column
        part = slice(int(self.offsets[law]), int(self.offsets[law + 1]))
        return Empirical(self.values[part], self.probabilities[part]) if part.start < part.stop else None


def read_folder(path: Path, cache: bool) -> Folder:
    """What is in the folder's files. Raises TraceError naming file, line and field."""
    if not path.is_dir():
        raise TraceError(f"{path}: no such folder")
    traces, datasets = (_by_client(path, ending) for ending in ("trace.csv", "dataset.json"))
    if not traces:
        raise TraceError(f"{path}: has no chunk-<id>-trace.csv; give the folder of one model, as language/m-large")
    for id_ in datasets:
        if id_ not in traces:
            raise TraceError(f"{datasets[id_]}: has no trace; add {path}/chunk-{id_}-trace.csv or remove it")
    if not cache:
        return _parse(traces, datasets)
    stored = _cache_file(path, [*traces.values(), *datasets.values()])
    try:
        with np.load(stored, allow_pickle=False) as arrays:
            return Folder(**arrays)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):  # not there, or not whole
        folder = _parse(traces, datasets)
    stored.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=stored.parent, delete=False) as file:
        np.savez(file, **{field.name: getattr(folder, field.name) for field in dataclasses.fields(Folder)})
    os.replace(file.name, stored)
    return folder


def _cache_file(path: Path, files: list[Path]) -> Path:
    """Where the arrays of these files are kept: the name changes when a file's path, size or time does."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(repr((_CACHE_VERSION, str(path.resolve()))).encode())
    for file in files:
        status = file.stat()
        key.update(repr((file.name, status.st_size, status.st_mtime_ns)).encode())
    return root / "servesim" / "servegen" / f"{path.name}-{key.hexdigest()[:16]}.npz"


def _by_client(path: Path, ending: str) -> dict[int, Path]:
    """The files chunk-<id>-<ending>, by id in ascending order."""
    found = {}
    for file in path.glob(f"*-{ending}"):
        match = re.fullmatch(rf"chunk-(\d+)-{re.escape(ending)}", file.name)
        if not match:
            raise TraceError(f"{file}: is not named chunk-<id>-{ending}; rename it")
        found[int(match[1])] = file
    return dict(sorted(found.items()))


def _parse(traces: dict[int, Path], datasets: dict[int, Path]) -> Folder:
    start_s: NDArray[np.float64] | None = None
    rows = []
    for file in traces.values():
        starts, *row = _read_trace(file)
        if start_s is None:
            start_s, first_file = starts, file
        elif not np.array_equal(starts, start_s):
            raise TraceError(f"{file}: start: windows differ from those of {first_file.name}; all clients share them")
        rows.append(row)
    assert start_s is not None
    rate, cv, family = (np.stack(columns) for columns in zip(*rows, strict=True))

    fields: tuple[str, ...] = ()
    entry_client: list[int] = []
    entry_start_s: list[float] = []
    laws = []
    for id_, file in datasets.items():
        for start, entry in _read_json(file).items():
            where = f"{file}: {start!r}"
            fields = _check_fields(where, entry, fields)
            entry_start_s.append(_entry_start(where, start, start_s))
            if len(entry_client) and entry_client[-1] == id_ and entry_start_s[-1] <= entry_start_s[-2]:
                raise TraceError(f"{where}: is not after {entry_start_s[-2]:g}; sort the entries by time")
            entry_client.append(id_)
            laws += [_parse_law(f"{where}: {field}", field, entry[field]) for field in fields]
    values, probabilities = (np.concatenate([np.empty(0), *(law[i] for law in laws)]) for i in range(2))
    return Folder(
        ids=np.array(list(traces)),
        edges_s=np.append(start_s, 2 * start_s[-1] - start_s[-2]),  # the last window is as long as the one before
        rate_per_s=rate,
        cv=cv,
        family=family.astype(np.int8),
        fields=np.array(fields, np.str_),
        entry_client=np.array(entry_client, np.int64),
        entry_start_s=np.array(entry_start_s, np.float64),
        offsets=np.cumsum([0, *(len(law[0]) for law in laws)]),
        values=values,
        probabilities=probabilities,
    )


# --- trace.csv ---


def _read_trace(file: Path) -> tuple[NDArray[Any], ...]:
    """(W,) starts in s, rates, CVs and codes of families."""
    rows = [line.split(",") for line in file.read_text().splitlines()]
    if len(rows) < 2:
        raise TraceError(f"{file}: has {len(rows)} lines; at least 2 windows are needed to know how long they are")
    for line, cells in enumerate(rows, 1):
        if len(cells) != len(TRACE_COLUMNS):
            raise TraceError(
                f"{file}:{line}: has {len(cells)} cells, expected {len(TRACE_COLUMNS)}: {', '.join(TRACE_COLUMNS)}"
            )
    cells_of = dict(zip(TRACE_COLUMNS, zip(*rows, strict=True), strict=True))
    start, rate, cv, shape, _ = (_cells(file, name, cells_of[name]) for name in TRACE_COLUMNS if name != "family")
    codes = {"": -1, **{name.capitalize(): code for code, name in enumerate(FAMILIES[:3])}}  # Poisson, Gamma, Weibull
    for line, name in enumerate(cells_of["family"], 1):
        if name not in codes:
            raise TraceError(f"{file}:{line}: family: unknown '{name}'; {did_you_mean(name, list(codes)[1:])}")
    family = np.array([codes[name] for name in cells_of["family"]])

    def reject(name: str, column: NDArray[np.float64], bad: NDArray[np.bool_], problem: str) -> None:
        if bad.any():
            line = int(bad.argmax())
            raise TraceError(f"{file}:{line + 1}: {name}: {column[line]:g} {problem}")

    reject("start", start, np.append(start[0] < 0, np.diff(start) <= 0), "is not after the line before; sort the lines")
    reject("rate", rate, rate < 0, "is negative; give requests per second from 0 on")
    active = rate > 0
    reject("rate", rate, active & (family < 0), "comes without a family; give one or a rate of 0")
    reject("rate", rate, ~active & (family >= 0), "comes with a family; leave it empty or give a positive rate")
    reject("cv", cv, active & ((cv < LEAST_CV) | (cv > MOST_CV)), f"is not from {LEAST_CV:g} to {MOST_CV:g}")
    gamma = active & (family == GAMMA)  # written from the CV, so that a mismatch shows mixed-up columns or units
    mismatch = gamma & ~np.isclose(cv**2 * shape, 1, rtol=1e-3)
    reject("cv", cv, mismatch, "is not 1 / sqrt(shape), as a Gamma family has it; check the columns' order and units")
    return start, rate, np.where(active, cv, 0.0), np.where(active, family, 0)


def _cells(file: Path, name: str, cells: tuple[str, ...]) -> NDArray[np.float64]:
    try:
        column = np.array(cells, np.float64)
        if np.isfinite(column).all():
            return column
    except ValueError:
        pass
    for line, cell in enumerate(cells, 1):
        if not _is_finite(cell):
            raise TraceError(f"{file}:{line}: {name}: '{cell}' is not a finite number; correct the cell")
    raise AssertionError(f"{file}: {name}")


def _is_finite(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


# --- dataset.json ---


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise TraceError(f"{file}:{error.lineno}: is not JSON ({error.msg}); correct the file") from None
    if not isinstance(content, dict) or not content:
        raise TraceError(f"{file}: is no object of start -> laws with at least one entry; correct or remove the file")
    return content


def _check_fields(where: str, entry: Any, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The fields of the entry's category, which must be `fields` where these are known already."""
    if not isinstance(entry, dict):
        raise TraceError(f"{where}: is no object of field -> law; correct the entry")
    candidates = (fields,) if fields else CATEGORY_FIELDS
    # the category that lacks least of the entry and adds least to it
    nearest = min(candidates, key=lambda names: len(set(names) ^ set(entry)))
    for name in entry:
        if name not in nearest:
            raise TraceError(f"{where}: unknown field '{name}'; {did_you_mean(name, nearest)}")
    for name in nearest:
        if name not in entry:
            raise TraceError(f"{where}: has no field '{name}'; add it")
    return nearest


def _entry_start(where: str, start: str, windows_s: NDArray[np.float64]) -> float:
    if not _is_finite(start):
        raise TraceError(f"{where}: is not a time in seconds; correct the key")
    start_s = float(start)
    if start_s not in windows_s:
        raise TraceError(
            f"{where}: is no start of a window, which are from {windows_s[0]:g} to {windows_s[-1]:g} s; check the unit"
        )
    return start_s


def _parse_law(where: str, field: str, text: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and probabilities in "{value: probability, ...}", of increasing values; none in "{}"."""
    if not isinstance(text, str) or not (text.startswith("{") and text.endswith("}")):
        raise TraceError(f"{where}: is no text like '{{512: 0.25, 600: 0.75}}'; correct it")
    body = text[1:-1]
    if not body.strip():
        return np.empty(0), np.empty(0)
    try:
        pairs = np.array([cell.split(":") for cell in body.split(",")], np.float64)
    except ValueError:
        for cell in body.split(","):
            parts = cell.split(":")
            if len(parts) != 2 or not all(_is_finite(part) for part in parts):
                raise TraceError(f"{where}: '{cell.strip()}' is no 'value: probability'; correct it") from None
        raise
    values, probabilities = np.ascontiguousarray(pairs.T)
    try:
        Empirical.build(values, probabilities)
    except WorkloadError as error:
        raise TraceError(f"{where}: {error}") from None
    if field == "reason_ratio":
        if values[-1] > 1:
            raise TraceError(f"{where}: {values[-1]:g} is no ratio from 0 to 1; give the share of the output")
    elif (fraction := values != np.rint(values)).any():
        raise TraceError(f"{where}: {values[int(fraction.argmax())]:g} is no whole number; check the unit")
    return values, probabilities
