"""experiments/router_staleness at tiny sizes, and what its README states."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.lmetric import sources
from experiments.lmetric.runs import most_per_s
from experiments.router_staleness import tables
from experiments.router_staleness.__main__ import main
from experiments.router_staleness.runs import CONTROLS, INDEX, MODEL, NOW, VIEWS, Task, busiest_share, run

SMALL = 0.1


@pytest.fixture(scope="module")
def rate() -> float:
    return most_per_s(MODEL, "chatbot", SMALL)


def served(rate: float, router: str, view: str) -> dict[str, Any]:
    return run(Task("chatbot", 0.5, rate, 0, router, view, SMALL))


def test_requests_in_half_a_second_and_their_busiest_instance() -> None:
    requests = pd.DataFrame({"arrival_s": [0.0, 0.1, 0.2, 0.6, 0.7], "instance": [3, 3, 1, 2, 1]})
    assert busiest_share(requests) == 3 / 5


@pytest.mark.parametrize("router", CONTROLS)
def test_routers_that_look_at_nothing_do_not_change(rate: float, router: str) -> None:
    runs = pd.DataFrame([served(rate, router, view) for view in VIEWS])
    assert tables.changed_controls(runs) == []


def test_a_changed_control_is_told(rate: float) -> None:
    runs = pd.DataFrame([served(rate, "random", NOW)] * 2)
    runs.loc[1, "ttft_mean_s"] += 1e-12
    assert tables.changed_controls(runs) == ["random on chatbot at 0.5, seed 0"]


def test_late_routers_herd_and_randomised_ones_do_not(rate: float) -> None:
    herd = {router: served(rate, router, "500 ms") for router in ("least-requests", "power-of-two", "lmetric")}
    fresh = {router: served(rate, router, NOW) for router in herd}
    assert herd["least-requests"]["ttft_mean_s"] > 2 * fresh["least-requests"]["ttft_mean_s"]
    assert herd["power-of-two"]["ttft_mean_s"] < 1.3 * fresh["power-of-two"]["ttft_mean_s"]
    assert herd["power-of-two"]["busiest"] < herd["lmetric"]["busiest"] < 2 * herd["least-requests"]["busiest"]
    assert herd["power-of-two"]["ttft_mean_s"] < herd["lmetric"]["ttft_mean_s"]


def test_the_routers_own_index_is_nearly_the_engines_truth(rate: float) -> None:
    truth, index = (served(rate, "lmetric", view)["ttft_mean_s"] for view in (NOW, INDEX))
    assert index == pytest.approx(truth, rel=0.05)


def test_the_study_writes_its_tables_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TRACES", tmp_path / "absent")
    routers = ("round-robin", "random", "least-requests", "lmetric", "lmetric of three")
    main(tmp_path, seeds=(0, 1), size=0.02, loads=(0.5,), routers=routers)
    assert {path.name for path in tmp_path.iterdir()} == {"tables.md", "runs.csv", "lateness.png", "herding.png"}
    printed = capsys.readouterr().out
    assert "the study goes without conversation" in printed
    assert "Every metric of every seed is the same in all views." in printed
    assert "| round-robin | " in printed and "| same | same |" in printed
