"""From a sweep to its cells, every one validated before any runs."""

import json
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

import workloads.builtin
from hardware_profiles import ProfileError
from workloads import WorkloadError, formats

from ..cells.requests import seed_matters
from ..cluster_checks import check_options
from ..console import get_field, set_field
from ..deployment import deployments, naming
from ..errors import SimError, unknown_name
from ..pool_source import read_pool
from ..routing import find_router
from ..scenario import Scenario, WorkloadSource, make_scenario
from ..simulation import engine_of
from .definition import Definition, Point
from .inputs import content_digest, input_fields

MOST_CELLS = 1_000_000
LARGEST_SEED = 2**63 - 1  # of a column of 64-bit integers


@dataclass(frozen=True)
class Cell:
    """A run. ``values``: of the swept fields. ``digest``: of all that its result depends on but the simulator itself.

    Cells of one ``requests_digest`` serve the same requests.
    """

    index: int
    values: Point
    scenario: Scenario
    digest: str
    requests_digest: str

    @property
    def label(self) -> str:
        """How errors call it."""
        return _label(self.index, self.values | {"seed": self.scenario.seed})


@dataclass(frozen=True)
class Plan:
    """The cells, by index, and the files that their scenarios name, each path with the digest of its contents."""

    cells: list[Cell]
    inputs: dict[str, str]


def plan(definition: Definition) -> Plan:
    """All cells: points outermost, then the grid's fields, the last one fastest, then seeds.

    Raises `SimError`, which names the cell, for the first that cannot be simulated, and for two that are the same.
    """
    _check_axes(definition)
    checks, inputs = _Checks(), dict[str, str]()
    cells: list[Cell] = []
    swept = dict.fromkeys(field for fields in (*definition.points, definition.grid) for field in fields)
    for choice in _choices(definition):
        where = f"{definition.where}: {_label(len(cells), choice)}"
        scenario = _scenario(definition, choice, where, checks)
        effective = scenario.model_dump(mode="json")
        for part, name in input_fields(effective):
            inputs[part[name]] = inputs.get(part[name]) or content_digest(part[name])
        values = {field: choice.get(field, get_field(effective, field)) for field in swept}
        for seed in range(scenario.seed, scenario.seed + definition.seeds):
            one = scenario.model_copy(update={"seed": seed})
            cells.append(Cell(len(cells), values, one, *_digests(one, inputs)))
    _refuse_twins(definition, cells)
    return Plan(cells, dict(sorted(inputs.items())))


def _check_axes(definition: Definition) -> None:
    where, grid, points = definition.where, definition.grid, definition.points
    if not grid and not points and definition.seeds == 1:
        raise SimError(f"{where}: nothing to sweep; give --grid FIELD=VALUE,VALUE,... or a sweep file, or more --seeds")
    for field, values in grid.items():
        if not values:
            raise SimError(f"{where}: grid: {field}: has no values; give some")
        if any(field in point for point in points):
            raise SimError(f"{where}: {field}: is in the grid and in the list; leave it in one of them")
    if any("seed" in choice for choice in (grid, *points)):
        raise SimError(f"{where}: seed: is not swept like other fields; give `seeds`, how many from the scenario's on")
    count = math.prod(map(len, grid.values())) * max(len(points), 1) * definition.seeds
    if count > MOST_CELLS:
        raise SimError(f"{where}: {count:,} cells are more than {MOST_CELLS:,}; make several sweeps of it")


def _choices(definition: Definition) -> Iterator[Point]:
    """What each cell, seeds aside, sets of its scenario."""
    for point in definition.points or [{}]:
        for values in product(*definition.grid.values()):
            yield point | dict(zip(definition.grid, values, strict=True))


def _label(index: int, values: Point) -> str:
    return f"cell {index} ({', '.join(f'{field}={value}' for field, value in values.items())})"


def _scenario(definition: Definition, choice: Point, where: str, checks: "_Checks") -> Scenario:
    """The choice's, with the first seed."""
    fields = deepcopy(definition.fields)
    try:
        for field, value in choice.items():
            set_field(fields, field, deepcopy(value))
        scenario = make_scenario(fields, "scenario")
        if scenario.seed + definition.seeds - 1 > LARGEST_SEED:
            raise SimError(f"seed: {scenario.seed} is too large for a table; give at most {LARGEST_SEED}")
        find_router(scenario.router, scenario.router_options)
        checks.deployed(scenario)
        checks.source(scenario.workload)
    except (SimError, ProfileError, WorkloadError) as error:
        raise SimError(f"{where}: {error}") from None
    except OSError as error:
        raise SimError(f"{where}: {error.filename}: {error.strerror}") from None
    return scenario


class _Checks:
    """Checks that read files, each made once for all cells that it is the same for."""

    def __init__(self) -> None:
        self._passed: set[str] = set()

    def deployed(self, scenario: Scenario) -> None:
        """Refuse a deployment or an engine that cannot be."""
        key = "".join(group.model_dump_json(exclude={"name", "instances", "weight"}) for group in scenario.groups())
        self._once(key, lambda: _check_deployed(scenario))

    def source(self, source: WorkloadSource) -> None:
        """Refuse names of workloads that are unknown, and a trace that is not there; it is not read."""
        self._once(source.model_dump_json(), lambda: _check_source(source))

    def _once(self, key: str, check: Callable[[], None]) -> None:
        if key not in self._passed:
            check()
            self._passed.add(key)


def _check_deployed(scenario: Scenario) -> None:
    for group, deployed in zip(scenario.groups(), deployments(scenario), strict=True):
        with naming(scenario, group):
            check_options(engine_of(group.engine, scenario.kv_pool, deployed))


def _check_source(source: WorkloadSource) -> None:
    if source.builtin is not None:
        workloads.builtin.check(source.builtin, source.options)
    elif source.pool is not None:
        read_pool(source.pool, source.options.get("missing_lengths"))
    else:
        assert source.trace is not None and source.format is not None  # WorkloadSource checks it
        if source.format not in formats():
            raise SimError(unknown_name("workload.format", source.format, formats()))
        with open(source.trace, "rb"):  # raises what `servesim` says of files that cannot be read
            pass


def _digests(scenario: Scenario, inputs: dict[str, str]) -> tuple[str, str]:
    """Of all that the result depends on, and of what its requests depend on."""
    fields = scenario.model_dump(mode="json")
    for part, name in input_fields(fields):
        part[name] = f"sha256:{inputs[part[name]]}"
    drawn = {"workload": fields["workload"], "seed": scenario.seed if seed_matters(scenario.workload) else None}
    return _digest(fields), _digest(drawn)


def _digest(fields: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits: two of a million cells have the same by chance once in 40 million such sweeps."""
    return sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _refuse_twins(definition: Definition, cells: list[Cell]) -> None:
    known: dict[str, Cell] = {}
    for cell in cells:
        twin = known.setdefault(cell.digest, cell)
        if twin is not cell:
            raise SimError(f"{definition.where}: {cell.label}: is the same run as {twin.label}; leave one of them out")
