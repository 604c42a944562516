"""A sweep's folder: what is swept in sweep.json, and each finished cell as a row in a Parquet file of its own."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workloads.files import complete_file

from ..cells.row import INTEGERS, Row
from ..errors import SimError
from .definition import Definition
from .plan import Cell, Plan

SCHEMA_VERSION = 1


class SweepFolder:
    """The folder at ``path``, made or gone on with; raises `SimError` where it is another sweep's or other files'."""

    def __init__(self, path: Path, definition: Definition, plan: Plan) -> None:
        self.cells = path / "cells"
        self._types = {field: _type([cell.values[field] for cell in plan.cells]) for field in plan.cells[0].values}
        self._open(path, _description(definition, plan))
        for partial in self.cells.glob(".partial-*"):  # of a sweep that was killed
            partial.unlink()
        there = {file.name for file in self.cells.iterdir()}
        self.finished = {cell.index for cell in plan.cells if _name(cell) in there}
        strange = there - {_name(cell) for cell in plan.cells}
        if strange:
            raise SimError(f"{self.cells / min(strange)}: is no cell of this sweep; move it away")

    def _open(self, path: Path, description: dict[str, Any]) -> None:
        known = path / "sweep.json"
        if known.exists():
            _check_same(known, description)
        elif self.cells.exists():
            raise SimError(f"{self.cells}: is there without {known}; give another --output")
        else:
            path.mkdir(parents=True, exist_ok=True)
            with complete_file(known) as file:
                file.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        self.cells.mkdir(exist_ok=True)

    def keep(self, cell: Cell, row: Row) -> None:
        """Write the row of a cell that is finished; the file is complete or not there."""
        columns: list[tuple[str, pa.DataType, Any]] = [
            ("index", pa.int64(), cell.index),
            ("digest", pa.string(), cell.digest),
            ("seed", pa.int64(), cell.scenario.seed),
        ]
        for field, type_ in self._types.items():
            columns.append((field, type_ or pa.string(), _as(type_, cell.values[field])))
        for name, value in row.items():
            columns.append((name, pa.int64() if name in INTEGERS else pa.float64(), value))
        schema = pa.schema([(name, type_) for name, type_, _ in columns])
        table = pa.table([pa.array([value], type_) for _, type_, value in columns], schema=schema)
        with complete_file(self.cells / _name(cell)) as file:
            pq.write_table(table, file, use_dictionary=False, write_statistics=False)  # of one row


def _name(cell: Cell) -> str:
    return f"{cell.index:06d}-{cell.digest}.parquet"


def _description(definition: Definition, plan: Plan) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "servesim": version("servesim"),
        "scenario": definition.fields,
        "grid": definition.grid,
        "list": definition.points,
        "seeds": definition.seeds,
        "cells": len(plan.cells),
        "inputs": plan.inputs,
    }


def _check_same(known: Path, description: dict[str, Any]) -> None:
    """Refuse to go on with a sweep that is not ``description``'s."""
    try:
        begun = json.loads(known.read_text(encoding="utf-8"))
        changed = next((key for key, value in _plain(description).items() if begun[key] != value), None)
    except (ValueError, KeyError, TypeError):
        raise SimError(f"{known}: is no description of a sweep; give another --output") from None
    if changed is None:
        return
    remedy = "give another --output, or delete the folder to begin afresh"
    if changed == "inputs":
        files = begun[changed].items() ^ description[changed].items()
        raise SimError(f"{known}: {min(files)[0]} has changed since this sweep was begun; {remedy}")
    if changed == "servesim":
        raise SimError(f"{known}: was begun with servesim {begun[changed]}, this is {description[changed]}; {remedy}")
    raise SimError(f"{known}: is another sweep, its {changed} differs; {remedy}")


def _plain(description: dict[str, Any]) -> Any:
    """As it is read back."""
    return json.loads(json.dumps(description))


def _type(values: list[Any]) -> pa.DataType | None:
    """That of a column of a swept field, one for all cells; None for JSON text, where no other holds all values."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {str}:
        return pa.string()
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else None


def _as(type_: pa.DataType | None, value: Any) -> Any:
    if value is None:
        return None
    if type_ is None:
        return json.dumps(value, sort_keys=True)
    return float(value) if pa.types.is_floating(type_) else value
