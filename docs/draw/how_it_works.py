"""Draws the pictures of docs/how-it-works.md by running its worked example: `python -m docs.draw.how_it_works`."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from docs.draw.worked_example import ENGINE, NAMES, PS_PER_MS, REQUESTS, SEGMENTS, Jump, run, state_at
from sim.kernel.line import gpu_line
from sim.kernel.prefix import grow_forest
from sim.kernel.state import DECODE as DECODING
from sim.kernel.state import NONE, Sim

IMAGES = Path(__file__).parents[1] / "img"
INK, GREY, PALE = "#22333b", "#8d99ae", "#e9edf2"
PREFILL, DECODE, CUT = "#f2a65a", "#5b9bc8", "#c8553d"
COLOUR_OF = {"A": "#3d7ea6", "B": "#d98c5f", "C": "#6a994e"}
FOREST_AT_MS = 150

plt.rcParams.update(
    {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "axes.edgecolor": GREY}
)


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str = "", **style: Any) -> None:
    look: dict[str, Any] = {"edgecolor": "white", "linewidth": 1.2, **style}
    axes.add_patch(Rectangle((x, y), width, height, **look))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8, linespacing=1.3)


def bare(axes: Axes, *sides: str) -> None:
    """Leave only the ``sides`` of the frame."""
    axes.spines[[side for side in axes.spines if side not in sides]].set_visible(False)
    axes.tick_params(left=False, labelleft=False)


def save(figure: Figure, name: str) -> None:
    figure.savefig(IMAGES / name, dpi=130)
    plt.close(figure)


# --- iterations and jumps ---------------------------------------------------------------------------------------------


def draw_timeline(sim: Sim, jumps: list[Jump]) -> None:
    figure, axes = plt.subplots(figsize=(9.5, 4.1), layout="constrained")
    for r, name in enumerate(NAMES):
        y = 5.6 - 0.55 * r
        arrival, first, finish = (sim.req[field][r] / PS_PER_MS for field in ("arrival", "first_token", "finish"))
        box(axes, arrival, y, first - arrival, 0.38, facecolor=PREFILL)
        box(axes, first, y, finish - first, 0.38, facecolor=DECODE)
        axes.text(-3, y + 0.19, name, ha="right", va="center", weight="bold", color=COLOUR_OF[name])

    for jump in jumps:
        colour = PREFILL if jump.prefilling else DECODE
        edges = [jump.start_ms, *jump.boundaries_ms]
        for k, (start, end) in enumerate(pairwise(edges)):
            box(axes, start, 2.8, end - start, 0.9, str(jump.first_iteration + k), facecolor=colour)
        cut = jump.iterations < jump.planned
        if cut:
            planned_ms = jump.boundary_ms(jump.planned) - jump.start_ms
            dashes = (0, (4, 3))
            box(axes, jump.start_ms, 0.15, planned_ms, 0.7, facecolor="none", edgecolor=CUT, linestyle=dashes)
            axes.text(edges[-1] + 3, 0.5, f"planned: {jump.planned}", va="center", fontsize=8, color=CUT)
            axes.plot([edges[-1]] * 2, [-0.1, 2.8], color=CUT, linewidth=1)
            axes.text(edges[-1] + 1, -0.12, f"cut at {edges[-1]:.1f} ms", color=CUT, fontsize=8, va="top")
        box(axes, jump.start_ms, 1.2, edges[-1] - jump.start_ms, 0.9, str(jump.iterations), facecolor=colour)

    arrival_ms = REQUESTS.arrival_ps[2] / PS_PER_MS
    axes.plot([arrival_ms] * 2, [-0.1, 6.3], color=CUT, linewidth=1)
    axes.text(arrival_ms - 1, 6.3, f"C arrives at {arrival_ms:.0f} ms", color=CUT, fontsize=8, ha="right", va="top")
    for y, label in ((3.25, "iterations,\nby number"), (1.65, "jumps, by how\nmany iterations")):
        axes.text(-3, y, label, ha="right", va="center", fontsize=8.5)
    axes.set(xlim=(-30, 192), ylim=(-0.6, 6.5), xlabel="simulated time, ms", xticks=range(0, 181, 20))
    bare(axes, "bottom")
    handles = [Patch(color=PREFILL, label="waiting or prefill"), Patch(color=DECODE, label="decode")]
    axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=8)
    save(figure, "macro-steps.png")


# --- residue classes --------------------------------------------------------------------------------------------------


def draw_residues(sim: Sim, jumps: list[Jump]) -> None:
    """Computed tokens of each decode request, as the fill of its last block, and the class that needs a block."""
    size = ENGINE.block_size
    figure, axes = plt.subplots(figsize=(9.5, 3.9), layout="constrained")
    for jump in jumps:
        for n in range(jump.first_iteration, jump.first_iteration + jump.iterations):
            if not jump.decoding:
                continue
            for name in jump.decoding:
                r = NAMES.index(name)
                computed = int(sim.req["anchor"][r]) + n
                _draw_block(axes, n, 4.6 - r, computed, COLOUR_OF[name])
            needy = -n % size
            blocks = jump.residue[needy]
            axes.text(n + 0.5, 1.95, f"{needy}", ha="center", va="center")
            for y, text in ((1.3, str(jump.residue)), (0.65, str(blocks))):
                weight = "bold" if y < 1 and blocks else "normal"
                axes.text(n + 0.5, y, text, ha="center", va="center", weight=weight, fontsize=7.5 if y > 1 else 9)
    for r, name in enumerate(NAMES):
        anchor = int(sim.req["anchor"][r])
        text = f"{name}: anchor {anchor}, class {anchor % size}"
        axes.text(0.9, 4.95 - r, text, ha="right", va="center", color=COLOUR_OF[name], weight="bold")
    rows = ((5.85, "iteration n"), (1.95, "class that needs a block: -n mod 4"))
    for y, text in (*rows, (1.3, "requests in classes 0, 1, 2, 3"), (0.65, "blocks needed")):
        axes.text(0.9, y, text, ha="right", va="center")
    last = jumps[-1].first_iteration
    for n in range(1, last + 1):
        axes.text(n + 0.5, 5.85, str(n), ha="center", va="center", color=GREY)
    axes.plot([1, last + 1], [2.3, 2.3], color=GREY, linewidth=0.8)
    axes.set(xlim=(-2.6, last + 1.1), ylim=(0.3, 6.2), xticks=[])
    bare(axes)
    save(figure, "residue-classes.png")


def _draw_block(axes: Axes, n: int, y: float, computed: int, colour: str) -> None:
    """The block that token number ``computed`` of a request goes to, in iteration ``n``."""
    size, cell = ENGINE.block_size, 0.2
    new = computed % size == 0
    for place in range(size):
        x = n + 0.1 + place * cell
        filled = place < computed % size
        facecolor = colour if place == computed % size else PALE if not filled else GREY
        box(axes, x, y, cell, 0.45, facecolor=facecolor)
    if new:
        axes.add_patch(Rectangle((n + 0.07, y - 0.05), 4 * cell + 0.06, 0.55, fill=False, edgecolor=INK, linewidth=1.6))
    axes.text(n + 0.5, y + 0.62, str(computed), ha="center", va="center", fontsize=7.5)


# --- the prefix forest ------------------------------------------------------------------------------------------------

ROW_OF_SEGMENT = (4.6, 2.3, 0.0, 3.45, 1.15)  # heights, in the order of the kernel's segments
FULL, IDLE, OWN = "#5b9bc8", "#c9d6df", "#f7d9b5"


def draw_forest() -> None:
    sim = state_at(FOREST_AT_MS)
    figure, (axes, order) = plt.subplots(2, figsize=(9.5, 5.2), layout="constrained", height_ratios=(5, 1.1))
    size = ENGINE.block_size
    parent, ends = grow_forest(
        REQUESTS.input_tokens, REQUESTS.output_tokens, REQUESTS.prefix_request, REQUESTS.prefix_tokens
    )
    for x, seg in enumerate(sim.seg):
        y = ROW_OF_SEGMENT[x]
        start, end = 0, int(ends[x])
        if parent[x] != NONE:
            start = int(ends[parent[x]])
            axes.plot([start] * 2, [ROW_OF_SEGMENT[parent[x]] + 0.68, y + 0.68], color=GREY, linewidth=1, zorder=0)
        axes.plot([start, end], [y + 0.68] * 2, color=INK, linewidth=3, solid_capstyle="butt")
        axes.text(end + 0.4, y + 0.66, f"{SEGMENTS[x]}: tokens {start} to {end - 1}", va="center", fontsize=8.5)
        for block in range(seg["first_block"], seg["end_block"]):
            box(axes, size * block + 0.08, y, size - 0.16, 0.5, f"{block}", **_style_of(sim, x, block))
    axes.annotate(
        "holds two shared tokens and\ntwo of its own: the tail's block",
        (12, ROW_OF_SEGMENT[1] + 0.25),
        (1.2, ROW_OF_SEGMENT[1] + 0.25),
        arrowprops={"arrowstyle": "->", "color": GREY},
        fontsize=8,
        va="center",
    )
    for token in range(0, 29, size):
        axes.axvline(token, color=PALE, linewidth=0.8, zorder=0)
    axes.set(xlim=(-0.5, 38), ylim=(-0.2, 5.5), xticks=range(0, 29, size), title=f"at {FOREST_AT_MS} ms")
    axes.set_xlabel("token", loc="left")
    bare(axes)
    handles = [
        Patch(color=FULL, label="resident, in use"),
        Patch(color=IDLE, label="resident, idle"),
        Patch(color=OWN, label="full, a running request's own:\ncounted, no slot yet"),
        Patch(facecolor="white", edgecolor=GREY, linestyle=":", label="not full"),
    ]
    axes.legend(handles=handles, loc="upper right", frameon=False, fontsize=8)
    _draw_lru_order(order)
    save(figure, "prefix-forest.png")


def _style_of(sim: Sim, x: int, block: int) -> dict[str, Any]:
    slots = sim.slot[(sim.slot["segment"] == x) & (sim.slot["resident"] > 0)]
    within = block - int(sim.seg[x]["first_block"])
    if len(slots) and within < slots["resident"][0]:
        return {"facecolor": FULL if within < slots["in_use"][0] else IDLE}
    inst = sim.inst[0]
    if x < len(NAMES) and sim.req[x]["state"] == DECODING:
        computed = int(sim.req[x]["anchor"] + inst["iteration"] + inst["grown"])
        if block < computed // ENGINE.block_size:
            return {"facecolor": OWN}
    return {"facecolor": "white", "edgecolor": GREY, "linestyle": ":"}


def _draw_lru_order(axes: Axes) -> None:
    sim, _ = run()
    at, piece = 0, int(sim.line[gpu_line(0)]["oldest"])
    while piece != NONE:
        low, high = int(sim.piece[piece]["low"]), int(sim.piece[piece]["high"])
        text = SEGMENTS[int(sim.slot[sim.piece[piece]["slot"]]["segment"])]
        for block in range(high - low):
            box(axes, at + block, 0, 1, 0.6, facecolor=IDLE)
        axes.text(at + (high - low) / 2, 0.82, text, ha="center", va="center", fontsize=8)
        axes.plot([at] * 2, [-0.1, 0.7], color=INK, linewidth=1)
        at += high - low
        piece = int(sim.piece[piece]["lru_next"])
    axes.plot([at] * 2, [-0.1, 0.7], color=INK, linewidth=1)
    axes.text(-0.2, 0.3, "evicted first", ha="right", va="center", fontsize=8.5)
    axes.text(at + 0.2, 0.3, "evicted last", va="center", fontsize=8.5)
    axes.set(xlim=(-2, at + 2), ylim=(-0.2, 1.05), xticks=[], title="the LRU order at the end, a square a block")
    bare(axes)


if __name__ == "__main__":
    final, all_jumps = run()
    draw_timeline(final, all_jumps)
    draw_residues(final, all_jumps)
    draw_forest()
