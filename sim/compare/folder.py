"""A comparison as a folder: tables, JSON, figures, and a page that needs no other file."""

import base64
from pathlib import Path

from workloads.files import complete_file

from ..figures import png, style
from ..page import render
from .comparison import Comparison
from .figures import FIGURES
from .notes import notes
from .table import HEADS, lines


def write(comparison: Comparison, folder: Path) -> None:
    """Write the files that docs/compare.md lists; each appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("comparison", comparison.runs), ("differences", comparison.differences)):
        with complete_file(folder / f"{name}.parquet") as path:
            table.to_parquet(path, index=False)
    with complete_file(folder / "comparison.json") as path:
        path.write_text(comparison.to_json() + "\n", encoding="utf-8")
    with style():
        images = {name: png(draw(comparison)) for name, draw in FIGURES.items()}
    for name, image in images.items():
        with complete_file(folder / f"{name}.png") as path:
            path.write_bytes(image)
    with complete_file(folder / "compare.html") as path:
        path.write_text(page(comparison, images), encoding="utf-8")


def page(comparison: Comparison, images: dict[str, bytes]) -> str:
    """HTML with the table and the ``images``, PNGs by name, inside."""
    return render(
        "compare/page.html.j2",
        title="Comparison of " + ", ".join(policy.name for policy in comparison.policies),
        notes=notes(comparison),
        heads=HEADS,
        lines=lines(comparison),
        figures={name: base64.b64encode(image).decode() for name, image in images.items()},
        failures=comparison.failures,
        policies=comparison.policies,
    )
