"""The study's numbers as Markdown, over the seeds: means with Student's 95 % interval."""

import pandas as pd

from sim.statistics import Interval, t_interval

from ..markdown import markdown
from .runs import ATTAINMENT
from .sources import COMPOSED, NAIVE

PUBLISHED = 50.0  # percent by which ServeGen (arXiv 2505.09999) reports naive plans to fall short
MEASURES = (
    "rate, 1/s",
    "CV of the gaps",
    "input mean, tokens",
    "input p99, tokens",
    "output mean, tokens",
    "output p99, tokens",
    "dispersion, 1 s",
    "dispersion, 10 s",
    "dispersion, 60 s",
    "peak to mean, 10 s",
    "peak to mean, 60 s",
)


def shortfall(group: pd.DataFrame) -> Interval:
    """(needed - planned) / needed, in percent; negative where more is planned than needed."""
    return t_interval(100 * (group.needed - group.planned) / group.needed)


def plans(runs: pd.DataFrame) -> str:
    """A row per setting, SLO and what was planned with."""
    rows = []
    for (setting, slo, kind), group in runs.groupby(["setting", "slo", "planned_with"], sort=False):
        rows.append(
            [
                str(setting),
                str(slo),
                str(kind),
                f"{group.planned.mean():.1f} ({group.planned.min()} to {group.planned.max()})",
                f"{group.needed.mean():.1f} ({group.needed.min()} to {group.needed.max()})",
                told(shortfall(group)),
                f"{100 * group.attained.mean():.1f} ({100 * group.attained.min():.1f})",
                f"{group.holds.sum()} of {len(group)}",
            ]
        )
    head = ["traffic", "SLO", "planned with", "planned", "needed", "short, %", "attained, % (worst)", "holds"]
    return markdown(head, rows)


def aggregates(measures: pd.DataFrame) -> str:
    """Means over the seeds of what `compare` tells of one setting's workloads."""
    means = measures.groupby(level=0).mean().loc[list(MEASURES)]
    rows = [[str(name), *(f"{value:.4g}" for value in values)] for name, values in means.iterrows()]
    return markdown(["", *means.columns], rows)


def verdict(runs: pd.DataFrame) -> str:
    """How far naive and composed plans fall short, beside what is published."""
    lines = []
    for kind in (NAIVE, COMPOSED):
        of_kind = runs[runs.planned_with == kind]
        each = [shortfall(group) for _, group in of_kind.groupby(["setting", "slo"], sort=False)]
        means = [one.mean for one in each]
        above = sum(one.sign > 0 for one in each)
        lines.append(
            f"Planned with {kind}: {min(means):.1f} to {max(means):.1f} % too few instances, mean "
            f"{sum(means) / len(means):.1f} %; the interval is above zero in {above} of {len(each)} cases; "
            f"{ATTAINMENT:.0%} attained in {of_kind.holds.sum()} of {len(of_kind)} tests."
        )
    most = max(shortfall(group).high for _, group in runs[runs.planned_with == NAIVE].groupby(["setting", "slo"]))
    side = "above" if most < PUBLISHED else "not above"
    lines.append(
        f"The published {PUBLISHED:.0f} % are {side} all of them: the highest interval of a naive plan ends at "
        f"{most:.1f} %."
    )
    return "\n\n".join(lines) + "\n"


def told(interval: Interval) -> str:
    return f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})"
