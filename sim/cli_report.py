"""`servesim report`: finished runs as a page, or as figures for a paper."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import say
from .errors import SimError


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `servesim run --out` wrote, overlaid.")],
    output: Annotated[Path | None, typer.Option(help="The page, self-contained HTML; report.html if left out.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for each chart as a file.")] = None,
    kind: Annotated[Literal["svg", "png"], typer.Option("--format", help="Of those files.")] = "svg",
) -> None:
    """Show runs as a page that needs no network, and their charts as files.

    Example: servesim report out/quickstart/vllm out/quickstart/lmetric --output report.html --figures figures

    With --figures alone no page is written. docs/reports.md explains the charts.
    """
    from . import report as reporting  # brings Matplotlib and Jinja, slow to import

    if output and output.suffix != ".html":
        raise SimError(f"--output {output}: give a name that ends in .html")
    runs = reporting.read_runs(folders)
    if output or not figures:
        output = output or Path("report.html")
        output.parent.mkdir(parents=True, exist_ok=True)
        reporting.write_page(runs, output)
        say(f"Written to {output}")
    if figures:
        missing = reporting.write_figures(runs, figures, kind)
        say(f"Written to {figures}/" + (f"; nothing to draw in {', '.join(missing)}" if missing else ""))
