"""A scenario from a file and the options that override it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cli_slo import slo_fields
from .console import assignment, set_field
from .errors import SimError
from .scenario import read_scenario

SOURCES = ("trace", "format", "builtin", "pool")


def scenario_fields(
    file: Path | None,
    source: tuple[str | None, str | None, str | None, str | None],
    slo: Sequence[str] | None,
    settings: Sequence[str] | None,
    **options: Any,
) -> dict[str, Any]:
    """The fields of the scenario, not yet validated. ``source`` has the options of `SOURCES`, ``slo`` those of
    ``--slo``, ``settings`` those of ``--set``; ``options`` are other fields, None where not given.
    """
    fields = read_scenario(file) if file else {}
    trace, _, builtin, pool = source
    if trace or builtin or pool:  # each takes the place of the file's source, and of its options
        for name in SOURCES:
            set_field(fields, f"workload.{name}", None)
        set_field(fields, "workload.options", {})
    given = {f"workload.{name}": value for name, value in zip(SOURCES, source, strict=True)} | options
    for field, value in given.items():
        if value is not None:
            set_field(fields, field, value)
    if slo:
        fields["slo"] = [slo_fields(text) for text in slo]
    for setting in settings or ():
        set_field(fields, *assignment("--set", setting, "FIELD=VALUE, for example engine.max_num_seqs=256"))
    if "workload" not in fields:
        raise SimError("nothing to run: give a scenario file, --trace with --trace-format, --builtin, or --pool")
    return fields
