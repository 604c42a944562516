"""experiments/servegen_provisioning on a few minutes of little traffic."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.servegen_provisioning import tables
from experiments.servegen_provisioning.__main__ import main
from experiments.servegen_provisioning.sources import BY_WINDOW, COMPOSED, NAIVE, PLANNED_WITH, Setting, composed

SMALL = Setting("m-small", "absent", "from 8 h", 8 * 3600.0, 0.03)


def test_naive_workloads_have_the_rate_and_lengths_of_what_they_are_drawn_from() -> None:
    source = composed(SMALL, 0, 1200.0)
    for kind in (NAIVE, BY_WINDOW):
        drawn = PLANNED_WITH[kind](source, 0, 1200.0)
        assert len(drawn) == pytest.approx(len(source), rel=0.05)
        assert drawn.input_tokens.mean() == pytest.approx(source.input_tokens.mean(), rel=0.05)
        assert drawn.output_tokens.mean() == pytest.approx(source.output_tokens.mean(), rel=0.05)
        assert drawn.arrival_s.max() <= 1200.0


def test_shortfall_is_of_the_needed() -> None:
    runs = pd.DataFrame({"needed": [10, 20], "planned": [5, 20]})
    assert tables.shortfall(runs).mean == pytest.approx(25.0)


def test_the_study_runs_and_states_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path, [SMALL], range(2), 300.0)
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert set(runs.planned_with) == {COMPOSED, NAIVE, BY_WINDOW} and len(runs) == 2 * 2 * 3
    assert (runs[runs.planned >= runs.needed].attained >= 0.99).all()
    assert (tmp_path / "shortfall.png").is_file()
    report = (tmp_path / "tables.md").read_text()
    assert "The published 50 %" in report and report in capsys.readouterr().out
