"""The report in a real browser: headless Chromium, without a network."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from report_runs import write_run

from sim.report import read_runs, write_page
from sim.report.charts import CHARTS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDE = {chart.name for chart in CHARTS if chart.wide}  # these have a panel for each run
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# Tells, in an attribute of the body, what the browser made of every figure, and of unticking the first run.
CHECK = """<script>
addEventListener("load", () => {
  const shows = drawn => { const box = drawn.getBoundingClientRect(); return box.width > 0 && box.height > 0 }
  const figures = Object.fromEntries([...document.querySelectorAll("figure")].map(figure => {
    const svg = figure.querySelector("svg")
    return [figure.id, {
      shows: shows(figure),
      words: figure.querySelector(".nothing")?.textContent ?? "",
      width: svg?.getBoundingClientRect().width ?? 0,
      height: svg?.getBoundingClientRect().height ?? 0,
      drawn: [...(svg?.querySelectorAll("path, image, use") ?? [])].filter(shows).length,
      runs: [0, 1].filter(run => [...(svg?.getElementsByClassName(`run-${run}`) ?? [])].some(shows)),
      texts: [...(svg?.querySelectorAll("text") ?? [])].filter(shows).length,
    }]
  }))
  const lines = [...document.getElementsByClassName("run-0")].filter(shows).length
  document.querySelector("input[data-run=run-0]")?.click()
  const left = [...document.getElementsByClassName("run-0")].filter(shows).length
  const loaded = performance.getEntriesByType("resource").map(one => one.name).filter(name => !name.startsWith("data:"))
  const ids = [...document.querySelectorAll("[id]")].map(one => one.id)
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at)
  document.body.dataset.check = JSON.stringify({ figures, lines, left, loaded, twice })
})
</script>"""


def open_page(path: Path, folder: Path) -> tuple[dict, list[str]]:
    """What `CHECK` found, and what was written to the browser's console."""
    page = folder / "checked.html"
    page.write_text(path.read_text(encoding="utf-8").replace("</body>", CHECK + "</body>"), encoding="utf-8")
    options = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,2000"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"),
    ]
    command = [str(CHROMIUM), *options, page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = re.search(r'data-check="([^"]*)"', ended.stdout)
    assert found, ended.stderr[-2000:]
    return json.loads(unescape(found[1])), [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


def test_every_chart_of_two_runs_shows_without_console_messages(tmp_path):
    folders = [write_run(tmp_path / name, seed=at, objectives=True) for at, name in enumerate(("first", "second"))]
    write_page(read_runs(folders), tmp_path / "report.html")
    found, console = open_page(tmp_path / "report.html", tmp_path)
    assert console == []
    assert found["loaded"] == [] and found["twice"] == []
    assert list(found["figures"]) == [chart.name for chart in CHARTS]
    for name, seen in found["figures"].items():
        assert seen["shows"] and seen["words"] == "", name
        assert seen["width"] > 300 and seen["height"] > 150, name
        assert seen["drawn"] >= 4 and seen["texts"] > 6, name
        assert seen["runs"] == ([] if name in WIDE else [0, 1]), name
    assert found["lines"] > 10 and found["left"] == 0, "unticking a run hides its curves"


def test_a_page_without_samples_says_so(tmp_path):
    series = write_run(tmp_path / "run") / "series.parquet"
    pd.read_parquet(series).head(0).to_parquet(series)
    write_page(read_runs([tmp_path / "run"]), tmp_path / "report.html")
    found, console = open_page(tmp_path / "report.html", tmp_path)
    assert console == []
    assert all(seen["shows"] for seen in found["figures"].values())
    wordy = {name for name, seen in found["figures"].items() if seen["words"]}
    assert wordy == {
        *("slo", "requests", "tokens", "kv", "busy", "iteration_mix", "queue_heat", "kv_heat", "busy_heat")
    }


def test_the_browser_would_tell_of_an_error(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text('<body><script src="https://example.com/x.js"></script><script>no_such_name()</script></body>')
    found, console = open_page(page, tmp_path)
    assert any("no_such_name" in line for line in console)
    assert found["loaded"] == ["https://example.com/x.js"]
