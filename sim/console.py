"""Where the command prints, and what its parts share."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .errors import SimError
from .strict_yaml import load_yaml

out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)


def say(line: str) -> None:
    """One line, as it is."""
    out.print(line, highlight=False, soft_wrap=True, markup=False)


def print_names(kind: str, names: dict[str, str]) -> None:
    """A table of names and what they are."""
    table = Table(kind, "")
    for name, description in names.items():
        table.add_row(name, description)
    out.print(table)


def print_lines(names: dict[str, str]) -> None:
    """A line a name, however long."""
    width = max(map(len, names))
    for name, description in names.items():
        say(f"{name:{width}}  {description}")


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A live bar on a terminal, nothing elsewhere; gives what is to be called after each of ``total``.

    None where nobody knows how many there will be.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def assignment(option: str, text: str, expected: str) -> tuple[str, Any]:
    """The name and the YAML value of a NAME=VALUE that was given to ``option``."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise SimError(f"{option} {text}: expected {expected}")
    return name, load_yaml(value, f"{option} {text}")


def get_field(fields: dict[str, Any], path: str) -> Any:
    """The value of the field at ``path``, parts joined by dots; None where there is none."""
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def set_field(fields: dict[str, Any], path: str, value: Any) -> None:
    """Give the scenario field at ``path``, parts joined by dots, a value."""
    *parts, last = path.split(".")
    for part in parts:
        fields = fields.setdefault(part, {})
        if not isinstance(fields, dict):
            raise SimError(f"{path}: {part} has no fields of its own")
    fields[last] = value
