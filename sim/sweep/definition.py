"""What is swept: a sweep file, or a scenario file, with the options that go with either."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ..console import assignment, get_field, set_field
from ..errors import SimError
from ..scenario import Count, Part, first_problem, locate, read_scenario
from ..strict_yaml import load_yaml

Values = list[Any]
Point = dict[str, Any]  # scenario fields, parts joined by dots, with a value each
Points = list[Point]


class SweepFile(Part):
    """A sweep in a YAML file."""

    scenario: str | dict[str, Any]  # path, relative to the file, or the scenario itself
    grid: dict[str, Values] = Field(default_factory=dict)  # every combination of the fields' values
    list: Points = Field(default_factory=list)  # combinations of fields that are no grid
    seeds: Count = 1


@dataclass(frozen=True)
class Definition:
    """A sweep, its cells not yet validated.

    ``fields`` are the scenario's that all cells begin with. A cell is one of the ``points`` with one combination of the
    ``grid``'s values and one of ``seeds`` seeds, from the scenario's own on. ``where`` starts errors.
    """

    where: str
    fields: dict[str, Any]
    grid: dict[str, Values] = field(default_factory=dict)
    points: Points = field(default_factory=list)
    seeds: int = 1


def read_definition(
    path: Path | None, grids: Sequence[str] = (), settings: Sequence[str] = (), seeds: int | None = None
) -> Definition:
    """The sweep of the file at ``path``, of a sweep or a scenario, with options.

    ``grids`` are FIELD=VALUE,VALUE,... and come beside those of the file, or in place of one of the same field;
    ``settings``, FIELD=VALUE, hold for all cells. Raises `SimError` for what is no sweep.
    """
    read = read_scenario(path) if path else {}
    if path and "workload" not in read and read.keys() & SweepFile.model_fields.keys():
        file = _sweep_file(read, path)
    else:
        file = SweepFile(scenario=read)
    fields = file.scenario if isinstance(file.scenario, dict) else read_scenario(file.scenario)
    for setting in settings:
        set_field(fields, *assignment("--set", setting, "FIELD=VALUE, for example gpu=H800"))
    grid = file.grid | dict(_axis(text) for text in grids)
    if not path and not fields and not any(field.split(".")[0] == "workload" for field in grid):
        raise SimError("nothing to sweep: give a scenario file, or a workload, e.g. --set workload.builtin=chatbot")
    where = f"{path} and options" if path else "options"
    return Definition(where, fields, grid, file.list, file.seeds if seeds is None else seeds)


def _sweep_file(fields: dict[str, Any], path: Path) -> SweepFile:
    """The file's ``fields``, validated; the files that they name are looked for beside it."""
    try:
        file = SweepFile.model_validate(fields)
    except ValidationError as error:
        raise SimError(f"{path}: {first_problem(error, SweepFile)}") from None
    folder = path.parent
    if isinstance(file.scenario, dict):
        locate(file.scenario, folder)
        scenario: str | dict[str, Any] = file.scenario
    else:
        scenario = str(folder / file.scenario)
    grid = {field: [_located(field, value, folder) for value in values] for field, values in file.grid.items()}
    points = [{field: _located(field, value, folder) for field, value in point.items()} for point in file.list]
    return SweepFile(scenario=scenario, grid=grid, list=points, seeds=file.seeds)


def _located(field: str, value: Any, folder: Path) -> Any:
    fields: dict[str, Any] = {}
    set_field(fields, field, value)
    locate(fields, folder)
    return get_field(fields, field)


def _axis(text: str) -> tuple[str, Values]:
    """The field and the values of FIELD=VALUE,VALUE,..., each as --set takes it."""
    field, separator, values = text.partition("=")
    if not separator or not field or not values:
        raise SimError(f"--grid {text}: expected FIELD=VALUE,VALUE,..., for example instances=2,4,8")
    return field, load_yaml(f"[{values}]", f"--grid {text}")
