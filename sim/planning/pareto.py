"""What attainment costs: all that a plan tried, and what of it nothing else beats."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .planner import Tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def frontier(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other beats: cheaper per million output tokens with no less attainment, or as cheap with more."""

    def key(one: Tried) -> tuple[float, float]:
        return cost_per_million(one), -one.verdict.attainment.mean

    best: list[Tried] = []
    for one in sorted(tried, key=key):
        if not best or one.verdict.attainment.mean > best[-1].verdict.attainment.mean:
            best.append(one)
    return best


def cost_per_million(tried: Tried) -> float:
    """Dollars per million output tokens."""
    return tried.cost.per_million(tried.verdict.mean("output_tokens_per_s"))


def draw(tried: Sequence[Tried], find: str) -> "Figure":
    """Cost against attainment with its interval, by kind of fleet, and the frontier; a point is labelled
    with its instances, or its rate.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(_kind(one) for one in tried))
    for number, kind in enumerate(kinds):
        own = [one for one in tried if _kind(one) == kind]
        shares = [one.verdict.attainment for one in own]
        off = [[max(0.0, one.mean - one.low) for one in shares], [max(0.0, one.high - one.mean) for one in shares]]
        colour = f"C{number % 10}"
        axes.errorbar(
            [cost_per_million(one) for one in own], [one.mean for one in shares], yerr=off, fmt="none", ecolor=colour
        )
        for holds, face in ((True, colour), (False, "none")):
            some = [one for one in own if one.verdict.holds == holds]
            label = kind if holds or not any(one.verdict.holds for one in own) else None
            axes.scatter(
                [cost_per_million(one) for one in some],
                [one.verdict.attainment.mean for one in some],
                facecolor=face,
                edgecolor=colour,
                label=label if some else None,
                zorder=3,
            )
        for one in own:
            counts = "+".join(str(group.instances) for group in one.trial.groups)
            text = counts if find == "instances" else f"{one.trial.rate_per_s:g}/s"
            place = (cost_per_million(one), one.verdict.attainment.mean)
            axes.annotate(text, place, xytext=(4, 4), textcoords="offset points", fontsize="x-small")
    best = frontier(tried)
    line = [(cost_per_million(one), one.verdict.attainment.mean) for one in best]
    axes.step(*zip(*line, strict=True), where="post", color="0.6", linewidth=1, zorder=1, label="frontier")
    wanted = tried[0].verdict.wanted
    axes.axhline(wanted, color="0.3", linestyle=":", linewidth=1, label=f"wanted {wanted:.4g}")
    axes.set(xlabel="$ per million output tokens", ylabel="attainment")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _kind(one: Tried) -> str:
    return " + ".join(group.name for group in one.trial.groups)
