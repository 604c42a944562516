"""What the lessons share: a lesson's table goes into its page, its picture beside it."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sim.errors import SimError

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"


def publish(script: str, table: pd.DataFrame, picture: Figure) -> None:
    """Write the table and the picture of the lesson whose file is ``script`` where its page shows them."""
    page = page_of(script)
    page.write_text(with_table(page, table), encoding="utf-8")
    picture.savefig(FOLDER / "img" / f"{page.stem}.png", dpi=90, metadata={"Software": None})
    print(f"{page.stem}\n\n{markdown(table)}")


def page_of(script: str) -> Path:
    """The page of a lesson: lesson_1_queueing.py belongs to 1-queueing.md."""
    return FOLDER / (Path(script).stem.removeprefix("lesson_").replace("_", "-") + ".md")


def with_table(page: Path, table: pd.DataFrame) -> str:
    """The page's text with ``table`` between its two marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SimError(f"{page}: has no place for the table; mark it with {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{markdown(table)}\n{END}{after}"


def markdown(table: pd.DataFrame) -> str:
    """Numbers with three significant digits, text as it is; without the index."""
    rows = [table.columns, ["---"] * len(table.columns), *([_cell(value) for value in row] for row in table.to_numpy())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
