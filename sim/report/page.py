"""The page of a report, and its figures as files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from workloads.files import complete_file

from ..cells.row import row
from ..compare.metrics import METRICS, SLO_METRICS, Metric
from ..figures import COLOURS, inline_svg, png, style, svg
from ..page import render
from .charts import CHARTS
from .heat import KINDS
from .nothing import Nothing
from .runs import SHOWN_SHARE, Run

ROWS = (
    *METRICS,
    *SLO_METRICS,
    Metric("itl_mean_s", "inter-token latency mean, ms", scale=1e3),
    Metric("itl_p99_s", "inter-token latency p99, ms", scale=1e3),
    Metric("requests_per_s", "requests/s", lower_is_better=False),
    Metric("preemptions", "preemptions"),
    Metric("iterations", "iterations"),
)
IMAGES = {"svg": svg, "png": png}


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the page, with everything inside; it appears complete or not at all."""
    with complete_file(path) as partial:
        partial.write_text(page(runs), encoding="utf-8")


def page(runs: Sequence[Run]) -> str:
    numbers = [row(run.summary) for run in runs]
    return render(
        "report/page.html.j2",
        title="Report of " + ", ".join(run.label for run in runs),
        notes=[
            f"Charts over time end when {SHOWN_SHARE:.0%} of the requests are finished, at {runs[0].shown_s:,.0f} s."
        ],
        runs=[
            {
                "label": run.label,
                "colour": COLOURS[run.number % len(COLOURS)],
                "about": _about(run),
                "scenario": yaml.safe_dump(run.summary["scenario"], sort_keys=False),
            }
            for run in runs
        ],
        rows=[
            *((metric.label, [_cell(metric.of(one) * metric.scale) for one in numbers]) for metric in ROWS),
            *((f"iterations: {name}", [_cell(_iterations(run, kind)) for run in runs]) for kind, name in KINDS.items()),
        ],
        warnings=_warnings(runs),
        charts=list(_charts(runs)),
    )


def write_figures(runs: Sequence[Run], folder: Path, kind: str) -> list[str]:
    """Write each chart as a file of this kind, a key of `IMAGES`; returns the names of those that have no data."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    with style():
        for chart in CHARTS:
            try:
                figure = chart.draw(runs)
            except Nothing:
                missing.append(chart.name)
                continue
            with complete_file(folder / f"{chart.name}.{kind}") as path:
                path.write_bytes(IMAGES[kind](figure))
    return missing


def _charts(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    with style():
        for chart in CHARTS:
            shown = {"name": chart.name, "title": chart.title, "caption": chart.caption, "wide": chart.wide}
            try:
                yield shown | {"svg": inline_svg(chart.draw(runs), chart.name), "nothing": ""}
            except Nothing as reason:
                yield shown | {"svg": "", "nothing": str(reason)}


def _about(run: Run) -> str:
    summary, groups = run.summary, run.summary["groups"]
    fleet = " + ".join(f"{group['instances']} x {group['gpu']}" for group in groups)
    models = " or ".join(dict.fromkeys(group["model"] for group in groups))
    return (
        f"{summary['requests']:,} requests on {fleet}, {models}, router {summary['scenario']['router']}, "
        f"{summary['end_s'] - summary['start_s']:,.0f} s"
    )


def _iterations(run: Run, kind: str) -> float:
    return float(sum(instance[f"{kind}_iterations"] for instance in run.summary["instances"]))


def _warnings(runs: Sequence[Run]) -> list[str]:
    """Each once, with the runs that it is about unless those are all."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for warning in _warnings_of(run.summary):
            about.setdefault(warning, []).append(run.label)
    return [
        warning if len(labels) == len(runs) else f"{', '.join(labels)}: {warning}" for warning, labels in about.items()
    ]


def _warnings_of(summary: dict[str, Any]) -> Iterator[str]:
    if summary["assumptions"]:
        yield f"{len(summary['assumptions'])} constants behind the step times are assumptions, not measurements."
    if summary["requests_beyond_context"]:
        yield (
            f"{summary['requests_beyond_context']:,} requests are longer than the model's context; they are simulated "
            "as if the model took them."
        )
    if summary["operations_not_reached"]:
        yield "Some operations came after the last request had finished, and did not happen."
    if summary["rejected"]:
        yield f"{summary['rejected']:,} requests were refused; charts and latencies are of the others."
    if summary["saturated"]["saturated"]:
        yield "The queue only grows: latencies depend on how long the run is."
    if summary["given_in_python"]:
        yield f"Given in Python, not by the scenario: {summary['given_in_python']}."


def _cell(value: float) -> str:
    return "-" if value != value else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
