"""The study's figure."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from .runs import GOAL, Outcome


def courses(outcomes: Sequence[Outcome]) -> Figure:
    """Over the day: the rate, the instances of each fleet, and the share of requests within the targets."""
    sheet = Figure(figsize=(9, 8), layout="constrained")
    rate, fleet, attained = sheet.subplots(3, 1, sharex=True)
    first = outcomes[0].course
    rate.fill_between(first["hour"], first["requests_per_s"], step="post", color="0.8")
    rate.set(ylabel="requests/s", ylim=(0, None))
    for outcome in outcomes:
        course = outcome.course
        label = f"{outcome.name}: {outcome.gpu_hours:,.0f} GPU h, {outcome.attainment:.2%}"
        fleet.step(course["hour"], course["instances"], where="post", label=label)
        attained.plot(course["hour"], 100 * course["attainment"], linewidth=1)
    fleet.set(ylabel="instances", ylim=(0, None))
    fleet.legend(fontsize="small")
    attained.axhline(100 * GOAL, color="black", linewidth=0.8, linestyle=":")
    attained.set(ylabel="within the targets, %", xlabel="hours")
    return sheet
