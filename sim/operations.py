"""What the control plane does to instances, at given times or by itself, and the log of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .errors import SimError, unknown_name
from .kernel.state import LONGEST_PS

PS_PER_S = 10**12
KINDS = ("add", "drain", "undrain", "freeze", "fail", "repair")
BY_REQUEST = "operation"  # reason of those that the scenario or the caller asked for

# Status of an instance, as the control plane knows it; ABSENT is one not yet added.
ABSENT, STARTING, READY, DRAINING, FAILED, STOPPED = "absent", "starting", "ready", "draining", "failed", "stopped"
STATUSES = (ABSENT, STARTING, READY, DRAINING, FAILED, STOPPED)


@dataclass(frozen=True)
class Operation:
    """A scheduled control operation; their meaning is in docs/engine-rules.md.

    ``kind`` is one of `KINDS`. ``instance`` counts from 0; instances that are added get the next free index, so an
    ``add`` may leave it out. ``startup_ps`` and ``group``, the place of the instance's in the list of groups, are for
    ``add`` alone, ``backoff_ps`` for ``fail``.
    """

    at_ps: int
    kind: str
    instance: int | None = None
    startup_ps: int = 0
    backoff_ps: int = 0
    group: int = 0


class ControlEvent(NamedTuple):
    """Something that happened to an instance: one of `KINDS`, ``ready`` (after a start-up) or ``stop`` (drained and
    empty).
    """

    time_ps: int
    kind: str
    instance: int
    reason: str
    wait_ps: int = 0  # the start-up of an `add`, the backoff of a `fail`


def stopped_ps(log: Sequence[ControlEvent]) -> dict[int, int]:
    """When each instance that was stopped was."""
    return {event.instance: event.time_ps for event in log if event.kind == "stop"}


def check_operations(operations: Sequence[Operation], instances: int, groups: int) -> None:
    """Refuse, before the run, what could not happen in it."""
    order = sorted(range(len(operations)), key=lambda at: operations[at].at_ps)
    for at in order:
        operation, where = operations[at], f"operations.{at}"
        if operation.kind not in KINDS:
            raise SimError(unknown_name(f"{where}.kind", operation.kind, KINDS))
        for field, time_ps in (
            ("at_s", operation.at_ps),
            ("startup_s", operation.startup_ps),
            ("backoff_s", operation.backoff_ps),
        ):
            if not 0 <= time_ps <= LONGEST_PS:
                raise SimError(
                    f"{where}.{field}: {time_ps / PS_PER_S:g} s is not within 0 to {LONGEST_PS // PS_PER_S:,} s"
                )
        if operation.backoff_ps and operation.kind != "fail":
            raise SimError(f"{where}.backoff_s: only `fail` gives requests back; leave it out")
        if operation.kind == "add":
            if not 0 <= operation.group < groups:
                raise SimError(f"{where}.group: there is no {operation.group}; use 0 to {groups - 1}")
            if operation.instance not in (None, instances):
                raise SimError(f"{where}.instance: the next instance to add is {instances}; leave the field out")
            instances += 1
            continue
        for field, given in (("startup_s", operation.startup_ps), ("group", operation.group)):
            if given:
                raise SimError(f"{where}.{field}: only `add` starts an instance; leave it out")
        if operation.instance is None or not 0 <= operation.instance < instances:
            found = "is missing" if operation.instance is None else f"there is no {operation.instance} by then"
            raise SimError(f"{where}.instance: {found}; use 0 to {instances - 1}")
