"""The tutorial's pages have the numbers and the code of their lessons, and what they say is so."""

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from docs.tutorial import lesson_6_provisioning as provisioning
from docs.tutorial.page import FOLDER, markdown, page_of, with_table
from sim.errors import SimError

LESSONS = sorted(path.stem for path in FOLDER.glob("lesson_*.py"))
LARGEST_PICTURE_BYTES = 100_000


@cache
def runs(lesson: str) -> Any:
    return import_module(f"docs.tutorial.{lesson}").experiment()


def table(lesson: str) -> Any:
    return import_module(f"docs.tutorial.{lesson}").table(runs(lesson))


def test_there_are_six() -> None:
    assert [name.split("_")[1] for name in LESSONS] == list("123456")
    index = (FOLDER / "index.md").read_text()
    assert all(f"({page_of(lesson).name})" in index for lesson in LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_page_has_the_numbers_of_its_script(lesson: str) -> None:
    page = page_of(lesson)
    stale = f"{page} is not what its script writes; run: python -m docs.tutorial.{lesson}"
    assert with_table(page, table(lesson)) == page.read_text(), stale


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_page_shows_code_of_its_script(lesson: str) -> None:
    examples = re.findall(r"```python\n(.*?)```", page_of(lesson).read_text(), re.DOTALL)
    script = (FOLDER / f"{lesson}.py").read_text()
    assert examples and all(example in script for example in examples)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_picture_is_there_and_can_be_drawn(lesson: str, tmp_path: Path) -> None:
    page = page_of(lesson)
    kept, drawn = FOLDER / "img" / f"{page.stem}.png", tmp_path / "again.png"
    import_module(f"docs.tutorial.{lesson}").picture(runs(lesson)).savefig(drawn)
    assert f"(img/{kept.name})" in page.read_text()
    assert 0 < kept.stat().st_size < LARGEST_PICTURE_BYTES and drawn.stat().st_size > 0


def test_a_page_without_a_place_for_the_table(tmp_path: Path) -> None:
    page = tmp_path / "1-queueing.md"
    page.write_text("# A queue\n")
    with pytest.raises(SimError, match="has no place for the table"):
        with_table(page, table(LESSONS[0]))


def test_cells() -> None:
    row = (
        provisioning.pd.DataFrame({"a": [0.12345], "b": [12345.6], "c": ["x"]}).assign(d=[12345]).astype({"d": object})
    )
    assert markdown(row).splitlines()[-1] == "| 0.123 | 12,346 | x | 12,345 |"


# --- what the pages say -----------------------------------------------------------------------------------------------


def test_queueing() -> None:
    waits = runs("lesson_1_queueing")
    assert (waits.wait_s / waits.theory_s - 1).abs().max() < 0.08
    waits = waits.pivot(index="load", columns="answers", values="wait_s")
    random, equal = waits["random (M/M/1)"], waits["equal (M/D/1)"]
    assert random[0.9] / random[0.5] == pytest.approx(9, rel=0.1)
    assert (equal / random).to_numpy() == pytest.approx(0.5, rel=0.05)


def test_batching() -> None:
    at = table("lesson_2_batching").set_index(["requests/s", "batching"])
    assert at.loc[(2, "orca"), "output tokens/s"] > 2 * at.loc[(2, "static"), "output tokens/s"]
    assert at.loc[(2, "vllm"), "TTFT mean, s"] < 1 < 100 < at.loc[(1, "static"), "TTFT mean, s"]
    assert (at.loc[(2, "orca")] == at.loc[(2, "vllm")]).all()
    for rate_per_s in (3, 4):
        orca, vllm = at.loc[(rate_per_s, "orca")], at.loc[(rate_per_s, "vllm")]
        assert vllm["output tokens/s"] > orca["output tokens/s"] and vllm["TTFT mean, s"] < orca["TTFT mean, s"]
        assert vllm["preemptions"] > 0 == orca["preemptions"] and vllm["TPOT mean, ms"] > orca["TPOT mean, ms"]


def test_chunked_prefill() -> None:
    of = table("lesson_3_chunked_prefill").set_index("budget, tokens")
    assert (
        of["longest ITL, ms"].is_monotonic_increasing and of["longest ITL, ms"].iloc[0] < 12 * of["ITL p50, ms"].iloc[0]
    )
    assert of["ITL p50, ms"].nunique() == 1
    documents = of["TTFT of documents, mean, s"]
    assert documents[256] > documents[512] > 1.05 * documents[2048] and documents[2048] < 1.05 * documents[32_768]
    assert of["TTFT of chats, p99, s"].min() > 4


def test_prefix_caching() -> None:
    of = table("lesson_4_prefix_caching").set_index("cache, blocks")
    sized = of[[name[0].isdigit() for name in of.index]]
    gains = sized["hit ratio, %"].diff().dropna()
    assert (gains > 0).all() and gains.is_monotonic_decreasing
    assert sized["TTFT p50, ms"].is_monotonic_decreasing
    off, most = of.loc["off"], sized.iloc[-1]
    assert most["TTFT p50, ms"] < 0.2 * off["TTFT p50, ms"] and most["TTFT mean, ms"] > 0.6 * off["TTFT mean, ms"]
    assert sized["preemptions"].iloc[0] > 0 and sized["TTFT mean, ms"].iloc[0] >= off["TTFT mean, ms"]


def test_routing() -> None:
    at = table("lesson_5_routing").set_index(["traffic", "router"])
    chats, hot = at.loc["chats"], at.loc["hot prefix"]
    hits, ttft_ms = chats["hit ratio, %"], chats["TTFT mean, ms"]
    assert hits[["round-robin", "vllm"]].max() < 0.5 * hits[["prefixaware", "cache-aware", "lmetric"]].min()
    assert ttft_ms["vllm"] < 0.5 * ttft_ms["round-robin"]
    assert ttft_ms.idxmax() == "prefixaware" and ttft_ms.idxmin() == "lmetric"
    assert ttft_ms["cache-aware"] == pytest.approx(3 * ttft_ms["lmetric"], rel=0.1)
    assert hot.loc["prefixaware", "on the busiest, %"] > 90
    assert hot["on the busiest, %"].drop("prefixaware").max() < 15


def test_provisioning() -> None:
    of = runs("lesson_6_provisioning")
    naive, composed = (provisioning.enough(of, name) for name in ("naive", "composed"))
    assert provisioning.INSTANCES[0] < naive < composed < provisioning.INSTANCES[-1]
    requests = [len(of[name, naive].requests) for name in ("naive", "composed")]
    assert requests[0] == pytest.approx(requests[1], rel=0.02)
