"""Figures of a description: each draws into one matplotlib Axes; `overview` has all on one sheet."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workloads.characterize.description import Description
from workloads.characterize.lengths import LengthStatistics

Draw = Callable[[Axes, Description], None]


def draw_rate(ax: Axes, description: Description) -> None:
    arrivals = description.arrivals
    ax.step(arrivals.window_start_s, arrivals.rate_per_s, where="post")
    ax.set(title="Rate", xlabel="time, s", ylabel=f"requests/s in {arrivals.window_s:g} s", ylim=(0, None))


def draw_burstiness(ax: Axes, description: Description) -> None:
    arrivals = description.arrivals
    ax.step(arrivals.window_start_s, arrivals.window_cv, where="post")
    ax.axhline(1, color="grey", linewidth=0.8, linestyle="--")
    ax.set(title="CV of the gaps (1: Poisson)", xlabel="time, s", ylabel="CV", ylim=(0, None))


def draw_dispersion(ax: Axes, description: Description) -> None:
    values = description.arrivals.dispersion
    ax.bar([f"{bin_s} s" for bin_s in values], list(values.values()))
    ax.axhline(1, color="grey", linewidth=0.8, linestyle="--")
    ax.set(title="Dispersion of counts (1: Poisson)", xlabel="bin", ylabel="variance / mean", yscale="log")


def draw_gap_fits(ax: Axes, description: Description) -> None:
    fits = description.gaps.fits
    ax.bar([fit.family for fit in fits], [fit.ks for fit in fits])
    ax.set(title="Fit of the gaps, best first", ylabel="Kolmogorov-Smirnov distance")


def draw_lengths(ax: Axes, description: Description) -> None:
    for name, lengths in (("input", description.input), ("output", description.output)):
        ax.step(lengths.cdf_tokens, lengths.cdf, where="post", label=name)
    ax.set(title="Lengths", xlabel="tokens", ylabel="share of requests", xscale="log", ylim=(0, 1))
    ax.legend()


def _draw_over_time(ax: Axes, description: Description, lengths: LengthStatistics, title: str) -> None:
    start_s = description.arrivals.window_start_s
    for name, values in lengths.window_quantiles.items():
        ax.step(start_s, values, where="post", label=name)
    ax.set(title=title, xlabel="time, s", ylabel="tokens", yscale="log")
    ax.legend()


def draw_input_over_time(ax: Axes, description: Description) -> None:
    _draw_over_time(ax, description, description.input, "Input over time")


def draw_output_over_time(ax: Axes, description: Description) -> None:
    _draw_over_time(ax, description, description.output, "Output over time")


def draw_clients(ax: Axes, description: Description) -> None:
    clients = description.clients
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    if clients is not None:
        ax.plot(clients.lorenz_clients, clients.lorenz_requests)
    title = "Clients: none" if clients is None else f"Clients, Gini {clients.gini:.2f}"
    ax.set(title=title, xlabel="share of clients, smallest first", ylabel="share of requests")


def draw_turns(ax: Axes, description: Description) -> None:
    talks = description.conversations
    if talks is not None:
        ax.plot(talks.turns, talks.sessions / talks.count, "o", markersize=3)
        ax.set(xscale="log", yscale="log")
    title = "Conversations: none" if talks is None else f"Conversations, {talks.mean_turns:.3g} turns on average"
    ax.set(title=title, xlabel="turns", ylabel="share of conversations")


def draw_reuse_times(ax: Axes, description: Description) -> None:
    reuse = description.reuse
    for name, times in reuse.reuse_times.items():
        ax.step(times.cdf_s, times.cdf, where="post", label=name)
    if reuse.reuse_times:
        ax.set(xscale="log")
        ax.legend(fontsize="small")
    title = f"Reuse times, ideal hit ratio {reuse.hit_ratio:.1%}"
    ax.set(title=title, xlabel="time since the last use, s", ylabel="share of block hits", ylim=(0, 1))


def draw_live_blocks(ax: Axes, description: Description) -> None:
    reuse = description.reuse
    ax.step(description.arrivals.window_start_s, reuse.live_blocks, where="post")
    title = f"Live blocks of {reuse.block_tokens} tokens"
    ax.set(title=title, xlabel="time, s", ylabel="used, and will be again", ylim=(0, None))


FIGURES: dict[str, Draw] = {
    "rate": draw_rate,
    "burstiness": draw_burstiness,
    "dispersion": draw_dispersion,
    "gap_fits": draw_gap_fits,
    "lengths": draw_lengths,
    "input_over_time": draw_input_over_time,
    "output_over_time": draw_output_over_time,
    "clients": draw_clients,
    "turns": draw_turns,
    "reuse_times": draw_reuse_times,
    "live_blocks": draw_live_blocks,
}


def figure(description: Description, name: str) -> Figure:
    """The figure called `name`, one of `FIGURES`."""
    sheet = Figure(figsize=(5, 3.2), layout="constrained")
    FIGURES[name](sheet.add_subplot(), description)
    return sheet


def overview(description: Description, title: str) -> Figure:
    """All figures on one sheet."""
    columns = 3
    rows = -(-len(FIGURES) // columns)
    sheet = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    axes = np.ravel(sheet.subplots(rows, columns))
    for ax, draw in zip(axes, FIGURES.values(), strict=False):
        draw(ax, description)
    for ax in axes[len(FIGURES) :]:
        ax.set_visible(False)
    sheet.suptitle(title)
    return sheet
