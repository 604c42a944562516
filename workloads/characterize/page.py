"""A description as a file: JSON, a PNG sheet, or an HTML page that needs no other file."""

import base64
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from workloads.characterize.description import Description
from workloads.characterize.plots import FIGURES, figure, overview
from workloads.errors import WorkloadError, did_you_mean

SUFFIXES = (".html", ".png", ".json")

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td { padding: .15em 1.5em .15em 0; border-bottom: 1px solid #ddd }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(450px, 1fr)); gap: 1em; margin-top: 2em }
img { width: 100% }
</style></head><body>
<h1>$title</h1>
<table>$rows</table>
<div class="figures">$figures</div>
</body></html>
""")


def write_report(description: Description, path: str | Path, title: str) -> None:
    """Write the description to `path`, in the format that its suffix names: .html, .png or .json."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WorkloadError(f"{path}: unknown kind of report '{path.suffix}'; {did_you_mean(path.suffix, SUFFIXES)}")
    if path.suffix == ".json":
        path.write_text(description.to_json() + "\n")
    elif path.suffix == ".png":
        path.write_bytes(_png(overview(description, title)))
    else:
        path.write_text(_page(description, title))


def _page(description: Description, title: str) -> str:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>\n" for k, v in description.headline())
    figures = []
    for name in FIGURES:
        data = base64.b64encode(_png(figure(description, name))).decode()
        figures.append(f'<img alt="{name}" src="data:image/png;base64,{data}">')
    return _PAGE.substitute(title=escape(title), rows=rows, figures="\n".join(figures))


def _png(sheet: Figure) -> bytes:
    buffer = BytesIO()
    sheet.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
