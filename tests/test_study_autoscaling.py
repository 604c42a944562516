"""experiments/autoscaling on a short, quiet day."""

from pathlib import Path

import pytest

from experiments.autoscaling import runs
from experiments.autoscaling.__main__ import main
from experiments.autoscaling.runs import GOAL, POLICIES, rate_per_s

DAY_S, PEAK_PER_S = 1800.0, 3.0


def test_the_rate_has_the_shape_of_a_day() -> None:
    assert rate_per_s(0.0) == pytest.approx(runs.PEAK_PER_S / 5) and rate_per_s(runs.DAY_S) == pytest.approx(3.0)
    assert rate_per_s(runs.DAY_S / 2) == pytest.approx(runs.PEAK_PER_S)
    day = runs.day(DAY_S, PEAK_PER_S)
    first = day.arrival_s[day.parent < 0]
    assert len(first) == pytest.approx(0.6 * PEAK_PER_S * DAY_S, rel=0.15)


def test_it_writes_its_table_and_figure(tmp_path: Path) -> None:
    outcomes = main(tmp_path, DAY_S, PEAK_PER_S)
    assert [outcome.name.split(",")[0] for outcome in outcomes] == ["static", *POLICIES]
    static = outcomes[0]
    assert static.attainment >= GOAL
    assert static.gpu_hours == pytest.approx(static.most_instances * 4 * DAY_S / 3600)
    assert all(len(outcome.course) == 96 for outcome in outcomes)
    assert (tmp_path / "day.png").stat().st_size > 10_000
    assert "| slo |" in (tmp_path / "table.md").read_text()


def test_targets_out_of_reach_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 instances attain"):
        runs.smallest_static(runs.day(300.0, 60.0), 300.0, most=1)
