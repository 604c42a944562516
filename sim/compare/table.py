"""The one table of a comparison, for a terminal and for the page."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from ..statistics import CONFIDENCE
from .comparison import Comparison, records

INTERVAL = f"{CONFIDENCE:.0%} interval"
HEADS = ("metric", "policy", "mean", INTERVAL, "difference", INTERVAL, "%", "")
COLOURS = {"better": "green", "worse": "red"}


@dataclass(frozen=True)
class Line:
    """Of one metric and policy, as it is shown; ``metric`` is empty but on the metric's first line."""

    metric: str
    policy: str
    mean: str
    interval: str
    difference: str = ""
    difference_interval: str = ""
    percent: str = ""
    verdict: str = "baseline"

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(vars(self).values())


def lines(comparison: Comparison) -> list[Line]:
    """Metric by metric a line for each policy, in the metric's unit, which its label names."""
    means, differences = _by_metric_and_policy(comparison.summary), _by_metric_and_policy(comparison.differences)
    table = []
    for metric in comparison.metrics:
        label = metric.label
        for policy in comparison.policies:
            key = (metric.name, policy.name)
            mean = means[key]
            shown = (label, policy.name, _number(mean["mean"], metric.scale), _range(mean, metric.scale))
            label = ""
            if policy.name == comparison.baseline:
                table.append(Line(*shown))
                continue
            difference = differences[key]
            table.append(
                Line(
                    *shown,
                    _number(difference["mean"], metric.scale, "+"),
                    _range(difference, metric.scale, "+"),
                    "-" if math.isnan(difference["relative"]) else f"{100 * difference['relative']:+.1f}",
                    difference["verdict"],
                )
            )
    return table


def terminal_table(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for head in HEADS:
        table.add_column(
            head, justify="left" if head in ("metric", "policy", "") else "right", no_wrap=head != "policy"
        )
    for line in lines(comparison):
        if line.metric and table.rows:
            table.add_section()
        table.add_row(*map(Text, line.cells[:-1]), Text(line.verdict, style=COLOURS.get(line.verdict, "")))
    return table


def _by_metric_and_policy(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["metric"], row["policy"]): row for row in records(table)}


def _range(row: dict[str, Any], scale: float, sign: str = "") -> str:
    if math.isnan(row["low"]):
        return "-"
    return f"{_number(row['low'], scale, sign)} .. {_number(row['high'], scale, sign)}"


def _number(value: float, scale: float, sign: str = "") -> str:
    """Three digits, or all before the point."""
    if math.isnan(value):
        return "-"
    shown = value * scale
    return format(shown, f"{sign},.0f" if abs(shown) >= 1000 else f"{sign}.3g")
