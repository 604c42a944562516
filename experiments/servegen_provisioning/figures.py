"""The study's figure."""

import pandas as pd
from matplotlib.figure import Figure

from .runs import ATTAINMENT
from .sources import PLANNED_WITH
from .tables import PUBLISHED, shortfall


def shortfalls(runs: pd.DataFrame) -> Figure:
    """By traffic and SLO: how far each plan falls short, and what it attains on held-out traffic."""
    cases = list(dict.fromkeys(zip(runs.setting, runs.slo, strict=True)))
    sheet = Figure(figsize=(11, 7), layout="constrained")
    short, attained = sheet.subplots(2, 1, sharex=True)
    width = 0.8 / len(PLANNED_WITH)
    for number, kind in enumerate(PLANNED_WITH):
        of = runs[runs.planned_with == kind].groupby(["setting", "slo"], sort=False)
        places = [place + (number - (len(PLANNED_WITH) - 1) / 2) * width for place in range(len(cases))]
        each = [shortfall(of.get_group(case)) for case in cases]
        spread = [[one.mean - one.low for one in each], [one.high - one.mean for one in each]]
        short.bar(places, [one.mean for one in each], width, yerr=spread, label=kind, capsize=2)
        for place, case in zip(places, cases, strict=True):
            shares = 100 * of.get_group(case).attained
            attained.plot([place] * len(shares), shares, "o", ms=4, color=f"C{number}", alpha=0.7)
    short.axhline(PUBLISHED, color="black", linestyle="--", linewidth=0.8, label=f"published, {PUBLISHED:.0f} %")
    short.axhline(0, color="grey", linewidth=0.8)
    short.set(ylabel="instances too few, % of the needed")
    short.legend(fontsize="small", ncols=5)
    attained.axhline(100 * ATTAINMENT, color="grey", linewidth=0.8)
    attained.set(ylabel="attained on held-out traffic, %")
    attained.set_xticks(range(len(cases)), [f"{setting}\n{slo}" for setting, slo in cases], fontsize="small")
    return sheet
