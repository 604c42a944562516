"""A trace file as columns of cells that remember their line, so that complaints name file, line and field."""

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from workloads.errors import TraceError, WorkloadError, did_you_mean
from workloads.workload import Workload

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Table:
    """The rows of a trace file. Methods take our column names; `field_of` gives the file's name for each.

    `cells[field]` and `lines` have one entry a row; `text` says whether cells are text (CSV) or JSON values.
    """

    path: Path
    field_of: Mapping[str, str]
    lines: list[int]
    cells: dict[str, list[Any]]
    text: bool

    def __contains__(self, column: str) -> bool:
        return self.field_of.get(column) in self.cells

    def error(self, row: int, column: str, problem: str) -> TraceError:
        return TraceError(f"{self.path}:{self.lines[row]}: {self.field_of[column]}: {problem}")

    def without(self, fields: Iterable[str]) -> "Table":
        for field in fields:
            if field not in self.cells:
                problem = f"to be ignored, but missing; {did_you_mean(field, self.cells)}"
                raise TraceError(f"{self.path}:1: {field}: {problem}")
        return replace(self, cells={field: self.cells[field] for field in self.cells if field not in fields})

    def check_fields(self, required: Iterable[str], remedy: str, if_missing: str | None = None) -> None:
        """All required columns are there (else `if_missing` or `remedy`), and no field not in `field_of`."""
        for column in required:
            if column not in self:
                field = self.field_of[column]
                problem = f"missing field; {did_you_mean(field, self.cells)}; {if_missing or remedy}"
                raise TraceError(f"{self.path}:1: {field}: {problem}")
        known = list(self.field_of.values())
        for field in self.cells:
            if field not in known:
                near = did_you_mean(field, known)
                raise TraceError(f"{self.path}:1: {field}: unknown field; {near}; {remedy}")

    def integers(self, column: str) -> NDArray[np.int64]:
        return self.converted(column, _csv_integer if self.text else _json_integer, "an integer", np.int64)

    def numbers(self, column: str, empty: float | None = None) -> NDArray[np.float64]:
        """`empty`: what an empty CSV cell or a JSON null stands for; None makes it an error."""
        number: Callable[[Any], float] = _csv_number if self.text else _json_number
        blank = "" if self.text else None

        def number_or_empty(cell: Any) -> float:
            return empty if empty is not None and cell == blank else number(cell)

        return self.converted(column, number_or_empty, "a finite number", np.float64)

    def strings(self, column: str) -> list[str]:
        for row, cell in enumerate(self.cells[self.field_of[column]]):
            if type(cell) is not str:
                raise self.error(row, column, f"{short_repr(cell)} is not a string")
        return self.cells[self.field_of[column]]

    def converted(self, column: str, convert: Callable[[Any], Any], expected: str, dtype: DTypeLike) -> NDArray[Any]:
        """The column through `convert`, which raises ValueError or TypeError if a cell is not `expected`."""
        cells = self.cells[self.field_of[column]]
        try:
            return np.array([convert(cell) for cell in cells], dtype)
        except (ValueError, TypeError, OverflowError):
            for row, cell in enumerate(cells):
                try:
                    np.array(convert(cell), dtype)
                except (ValueError, TypeError, OverflowError):
                    problem = f"{short_repr(cell)} is not {expected}; correct or delete the line"
                    raise self.error(row, column, problem) from None
            raise

    def sorted_by(self, time: NDArray[Any]) -> "Table":
        """The rows in the order of `time` (length N), those of equal time as they were."""
        if (time[1:] >= time[:-1]).all():
            return self
        order = np.argsort(time, kind="stable").tolist()
        cells = {field: [column[row] for row in order] for field, column in self.cells.items()}
        return replace(self, lines=[self.lines[row] for row in order], cells=cells)

    def workload(self, **columns: Any) -> Workload:
        """`Workload.build`, with complaints that point into the file."""
        try:
            return Workload.build(**columns)
        except WorkloadError as error:
            if error.column is None or error.row is None:
                raise TraceError(f"{self.path}: {error}") from None
            raise self.error(error.row, error.column, error.problem) from None


def read_csv(path: Path, field_of: Mapping[str, str]) -> Table:
    """A CSV file with a header line."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        header = next(reader)
        if len(set(header)) < len(header):
            twice = next(field for field in header if header.count(field) > 1)
            raise TraceError(f"{path}:1: {twice}: two columns have this name; rename one")
        if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
            raise TraceError(f"{path}:1: the cells are separated by {other!r}, not ','; save the file with commas")
        for cells in reader:
            if len(cells) != len(header):
                problem = f"{len(cells)} cells, but the header has {len(header)}; complete or delete the line"
                raise TraceError(f"{path}:{reader.line_num}: {problem}")
            lines.append(reader.line_num)
            rows.append(cells)
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num}: malformed CSV ({error}); correct the line") from None
    if not rows:
        raise TraceError(f"{path}: has a header and no rows")
    columns = map(list, zip(*rows, strict=True))
    return Table(path, field_of, lines, dict(zip(header, columns, strict=True)), text=True)


def read_jsonl(path: Path, field_of: Mapping[str, str]) -> Table:
    """A file with one JSON object a line, all with the same fields."""
    texts = _read_text(path).split("\n")
    if texts[-1] == "":
        texts.pop()
    rows: list[dict[str, Any]] = []
    for line, text in enumerate(texts, start=1):
        try:
            row = json.loads(text)
        except ValueError as error:
            problem = f"malformed JSON ({error})" if text.strip() else "empty line"
            raise TraceError(f"{path}:{line}: {problem}; correct or delete the line") from None
        if not isinstance(row, dict):
            raise TraceError(f"{path}:{line}: {short_repr(row)} is not a JSON object; correct the line")
        if rows and row.keys() != rows[0].keys():
            field = min(row.keys() ^ rows[0].keys())
            problem = "not a field of line 1" if field in row else "missing field"
            raise TraceError(f"{path}:{line}: {field}: {problem}; all lines need the same fields")
        rows.append(row)
    cells = {field: [row[field] for row in rows] for field in rows[0]}
    return Table(path, field_of, list(range(1, len(rows) + 1)), cells, text=False)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TraceError(f"{path}: is a directory; give a file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: damaged gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise TraceError(f"{path}: not readable ({error.strerror})") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TraceError(f"{path}:{line}: not UTF-8 text; a gzip file's name must end in .gz") from None
    if not text:
        raise TraceError(f"{path}: the file is empty")
    return text


def _csv_integer(cell: str) -> int:
    if not _INTEGER.fullmatch(cell):  # int() takes 1_0, blanks and digits of any script
        raise ValueError
    return int(cell)


def _csv_number(cell: str) -> float:
    if not _NUMBER.fullmatch(cell):
        raise ValueError
    return _finite(float(cell))


def _json_integer(value: object) -> int:
    if type(value) is not int:  # bool is a subclass of int
        raise TypeError
    return value


def _json_number(value: object) -> float:
    if type(value) is not int and type(value) is not float:
        raise TypeError
    return _finite(float(value))


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number
