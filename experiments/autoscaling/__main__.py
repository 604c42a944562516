"""The table and the figure of README.md: `python -m experiments.autoscaling [OUT]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from . import figures, runs
from .runs import POLICIES, Outcome

FIRST_INSTANCES = 4  # of the scaled fleets, at midnight


def main(out: Path, day_s: float = runs.DAY_S, peak_per_s: float = runs.PEAK_PER_S) -> list[Outcome]:
    """Write table.md and day.png into the folder ``out``; the static fleet comes first."""
    workload = runs.day(day_s, peak_per_s)
    outcomes = [runs.smallest_static(workload, day_s)]
    outcomes += [runs.scaled(workload, policy, FIRST_INSTANCES, day_s) for policy in POLICIES]
    out.mkdir(parents=True, exist_ok=True)
    report = table(outcomes)
    (out / "table.md").write_text(report, encoding="utf-8")
    figures.courses(outcomes).savefig(out / "day.png", dpi=110)
    print(f"{len(workload):,} requests\n\n{report}")
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    lines = [
        "| fleet | GPU hours | against static | within the targets | worst of 96 parts of the day | most instances |",
        "|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        saved = one.gpu_hours / outcomes[0].gpu_hours - 1
        lines.append(
            f"| {one.name} | {one.gpu_hours:,.1f} | {saved:+.1%} | {one.attainment:.2%} | {one.worst_attainment:.1%} "
            f"| {one.most_instances} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/autoscaling"))
