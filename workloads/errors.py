"""What is raised when a workload or a trace file is not what it should be."""

from collections.abc import Iterable
from difflib import get_close_matches


class WorkloadError(ValueError):
    """A workload is wrong; the message is one line that says what and how to mend it.

    `column` and `row` name the first offending cell when there is one.
    """

    def __init__(self, problem: str, column: str | None = None, row: int | None = None) -> None:
        where = "" if column is None else f"{column}: " if row is None else f"{column}, row {row}: "
        super().__init__(where + problem)
        self.problem = problem
        self.column = column
        self.row = row


class TraceError(WorkloadError):
    """A trace file, or what was asked of it, is wrong; the message names file, line and field."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` with the nearest known name, or the list of all known names."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
