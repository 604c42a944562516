"""How large the fleet was, and what it cost, from the log of control events."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .operations import PS_PER_S, ControlEvent, stopped_ps


def lifetimes_ps(log: Sequence[ControlEvent], instances: int, end_ps: int) -> list[tuple[int, int, int]]:
    """(instance, start, stop) of those that were there before ``end_ps``; who was never added was there from time 0,
    who was never stopped until the end.

    The start-up belongs to it, and so do failures and repairs: the GPUs are taken.
    """
    added = {event.instance: event.time_ps for event in log if event.kind == "add"}
    stopped = stopped_ps(log)
    lives = [(i, added.get(i, 0), min(stopped.get(i, end_ps), end_ps)) for i in range(instances)]
    return [life for life in lives if life[1] < end_ps]


def fleet_summary(log: Sequence[ControlEvent], end_ps: int, gpus: Sequence[int]) -> dict[str, Any]:
    """GPU hours, when instance ``i`` takes ``gpus[i]`` GPUs, and the number of instances from each time on at which it
    changed.
    """
    lifetimes = lifetimes_ps(log, len(gpus), end_ps)
    changes: dict[int, int] = {}
    for _, start_ps, stop_ps in lifetimes:
        changes[start_ps] = changes.get(start_ps, 0) + 1
        if stop_ps < end_ps:
            changes[stop_ps] = changes.get(stop_ps, 0) - 1
    steps, count = [], 0
    for at_ps in sorted(changes):
        count += changes[at_ps]
        if changes[at_ps]:
            steps.append({"time_s": at_ps / PS_PER_S, "instances": count})
    taken_ps = sum((stop_ps - start_ps) * gpus[i] for i, start_ps, stop_ps in lifetimes)
    return {"gpu_hours": taken_ps / PS_PER_S / 3600, "instances_over_time": steps}


def control_table(log: Sequence[ControlEvent]) -> pd.DataFrame:
    """The log in order of time (docs/results.md)."""
    ordered = sorted(log, key=lambda event: event.time_ps)
    return pd.DataFrame(
        {
            "time_s": pd.Series([event.time_ps / PS_PER_S for event in ordered], dtype="float64"),
            "kind": pd.Series([event.kind for event in ordered], dtype="str"),
            "instance": pd.Series([event.instance for event in ordered], dtype="int32"),
            "reason": pd.Series([event.reason for event in ordered], dtype="str"),
            "wait_s": pd.Series([event.wait_ps / PS_PER_S for event in ordered], dtype="float64"),
        }
    )
