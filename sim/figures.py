"""What the figures of reports and comparisons have in common: colours, axes, legends, and how they become files."""

import re
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Ten colours that people with any colour vision tell apart: Petroff 2021, arXiv:2107.02270.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.6",
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": "0.9",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "servesim",  # the same figure has the same identifiers, and so the same bytes
}


def style() -> AbstractContextManager[None]:
    """In which a figure is drawn and turned into an image."""
    return matplotlib.rc_context(_STYLE)


def plain_ticks(axis: Axis) -> None:
    """Of a logarithmic axis: at 1, 2 and 5, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure) -> None:
    """One for all axes, which show the same policies or runs."""
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")


def png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The same bytes at any time of day."""
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def mark(artist: Artist, name: str) -> None:
    """Let `inline_svg` make ``name`` the class of what ``artist`` draws."""
    artist.set_gid(f"mark-{name}")


def inline_svg(figure: Figure, label: str) -> str:
    """An SVG element for an HTML page. Its identifiers start with ``label``, as those of a page differ."""
    text = svg(figure).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'id="mark-([^"]+)"', r'class="\1"', text)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{label}-", text)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
