"""Charts with a panel for each run: what its instances do over time."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..figures import legend
from .aggregate import MOST_POINTS, merged, rows_merged, window_s
from .nothing import NO_SAMPLES, Nothing
from .runs import Run

Runs = Sequence[Run]
WIDTH = 11.0  # inches
MOST_COLUMNS = MOST_POINTS // 2
KINDS = {"prefill_only": "prefill only", "mixed": "prefill and decode", "decode_only": "decode only"}


def _panels(runs: Runs, height: float) -> tuple[Figure, dict[int, Axes]]:
    """A panel for each run, by its number."""
    figure = Figure(figsize=(WIDTH, height * len(runs) + 0.7), layout="constrained")
    panels = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
    panels[-1].set(xlabel="time, s")
    for run, axes in zip(runs, panels, strict=True):
        if len(runs) > 1:
            axes.set_title(run.label, loc="left", fontsize="medium")
    return figure, {run.number: axes for run, axes in zip(runs, panels, strict=True)}


def _heat_maps(runs: Runs, maps: dict[int, tuple[float, np.ndarray]], label: str) -> Figure:
    """``maps``: by run the end of its last window, s, and values [windows, instances]; one colour scale for all."""
    figure, panels = _panels(runs, 1.9)
    highest = max(float(np.nanmax(values, initial=0)) for _, values in maps.values()) or 1.0
    for run in runs:
        end_s, values = maps[run.number]
        rows, merged_rows = rows_merged(values)
        extent = (0.0, end_s, run.instances - 0.5, -0.5)
        shades = dict(aspect="auto", interpolation="nearest", vmin=0.0, vmax=highest, cmap="viridis")
        image = panels[run.number].imshow(rows.T, extent=extent, **shades)  # type: ignore[arg-type]
        panels[run.number].grid(False)
        panels[run.number].yaxis.set_major_locator(MaxNLocator(integer=True))
        panels[run.number].set(ylabel=f"instance{f', mean of {merged_rows}' if merged_rows > 1 else ''}")
    figure.colorbar(image, ax=list(panels.values()), label=label, pad=0.01)
    return figure


def rate_heat(runs: Runs) -> Figure:
    width_s = 2 * window_s(runs)
    maps = {}
    for run in runs:
        arrival_s, instance = run.over_time("arrival_s", "instance")
        window = (arrival_s / width_s).astype(np.int64)
        cells = np.bincount(window * run.instances + instance)
        windows = int(window.max()) + 1
        cells = np.pad(cells, (0, windows * run.instances - len(cells))).reshape(windows, run.instances)
        maps[run.number] = windows * width_s, cells / width_s
    return _heat_maps(runs, maps, f"requests/s ({width_s:g} s windows)")


def _sampled_heat(column: str, label: str) -> Callable[[Runs], Figure]:
    def draw(runs: Runs) -> Figure:
        maps = {}
        for run in runs:
            time_s, sampled = run.sampled(column)
            ends_s, values = merged(time_s, sampled, counts=False, most=MOST_COLUMNS)
            if len(ends_s):
                maps[run.number] = float(ends_s[-1]), values
        if not maps:
            raise Nothing(NO_SAMPLES)
        return _heat_maps([run for run in runs if run.number in maps], maps, label)

    return draw


queue_heat = _sampled_heat("waiting", "requests waiting")
kv_heat = _sampled_heat("kv_used_fraction", "KV blocks in use / usable")
busy_heat = _sampled_heat("busy_fraction", "busy share of time")


def iteration_mix(runs: Runs) -> Figure:
    """Stacked, in iterations per second of the whole cluster."""
    columns = [f"{kind}_iterations" for kind in KINDS]
    sampled = {run.number: run.sampled(*columns) for run in runs}
    shown = [run for run in runs if len(sampled[run.number][0])]
    if not shown:
        raise Nothing(NO_SAMPLES)
    figure, panels = _panels(shown, 2.2)
    for run in shown:
        time_s, *counts = sampled[run.number]
        by_kind = np.stack([kind.sum(axis=1) for kind in counts], axis=1)
        ends_s, totals = merged(time_s, by_kind, counts=True)
        rates = totals / np.diff(ends_s, prepend=0)[:, None]
        starts_s = np.append(0, ends_s)
        # Each window from its start to its end, as a step.
        panels[run.number].stackplot(
            starts_s,
            np.vstack((rates, rates[-1:])).T,
            step="post",
            labels=list(KINDS.values()),
            colors=["C1", "C4", "C0"],
            linewidth=0,
        )
        panels[run.number].set(ylabel="iterations/s", xlim=(0, ends_s[-1]), ylim=(0, None))
    legend(figure)
    return figure
