"""Arrivals: counts, gaps and window borders against what renewal theory says."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workloads.arrivals import ArrivalProcess, Arrivals, gap_shapes
from workloads.errors import WorkloadError

SHAPED = [("poisson", None), ("gamma", 0.4), ("gamma", 3.0), ("weibull", 0.5), ("weibull", 3.0)]
FIXED = [("deterministic", None), ("empirical", None)]
GAPS = [0.1, 0.1, 0.5, 1.0, 6.0]


def times(arrivals: Arrivals, edges_s: list[float], seed: int) -> NDArray[np.float64]:
    return ArrivalProcess(arrivals, np.array(edges_s, float), np.random.default_rng(seed)).until(np.inf)


@pytest.mark.parametrize(("family", "cv"), SHAPED + FIXED)
def test_gaps_have_the_rate_and_the_cv(family: str, cv: float | None) -> None:
    arrivals = Arrivals.build([4.0], family, cv, GAPS if family == "empirical" else None)
    gaps = np.diff(times(arrivals, [0, 50_000], seed=1))
    assert gaps.mean() == pytest.approx(0.25, rel=5 * max(arrivals.cv[0], 1e-3) / np.sqrt(len(gaps)))
    assert gaps.std() / gaps.mean() == pytest.approx(arrivals.cv[0], rel=0.05, abs=1e-6)


def test_empirical_gaps_are_those_given() -> None:
    gaps = np.diff(times(Arrivals.build([1.0], "empirical", gaps=GAPS), [0, 2000], seed=0))
    unit = np.array(GAPS) / np.mean(GAPS)
    assert np.abs(gaps[:, None] - unit).min(axis=1).max() < 1e-9


@pytest.mark.parametrize(("family", "cv"), [*SHAPED, *FIXED, ("gamma", 8.0), ("weibull", 8.0)])
def test_expected_count_of_a_short_window_is_rate_times_time(family: str, cv: float | None) -> None:
    """From equilibrium: an ordinary start would give (cv^2 - 1) / 2 requests too many, 31 for a CV of 8."""
    arrivals = Arrivals.build([0.5], family, cv, GAPS if family == "empirical" else None)
    counts = np.array([len(times(arrivals, [0, 40], seed)) for seed in range(2000)])
    assert abs(counts.mean() - 20) < 4.5 * max(counts.std(), 0.1) / np.sqrt(len(counts))


def test_expected_counts_stay_the_rates_where_the_cv_changes() -> None:
    """Windows far longer than the gaps: without the scaling, bursts of CV 6 leave 17 requests too few after them."""
    arrivals = Arrivals.build([2.0, 1.0, 4.0], ["gamma", "gamma", "weibull"], [6.0, 0.5, 3.0])
    edges = [0, 1000, 1100, 1400]
    counts = np.array([np.histogram(times(arrivals, edges, seed), edges)[0] for seed in range(1500)])
    error = counts.std(axis=0) / np.sqrt(len(counts))
    assert (np.abs(counts.mean(axis=0) - [2000, 100, 1200]) < 4.5 * error).all()


def test_a_process_runs_across_borders() -> None:
    """In operational time, a rate that changes leaves a process of constant family and CV what it was."""
    steady = times(Arrivals.build([1.0], "gamma", 2.0), [0, 900], seed=5)
    changing = times(Arrivals.build([1.0, 0.0, 5.0, 0.5], "gamma", 2.0), [0, 100, 150, 250, 850], seed=5)
    operational = np.interp(changing, [0, 100, 150, 250, 850], [0, 100, 100, 600, 900])
    assert operational == pytest.approx(steady)
    even = times(Arrivals.build([0.001] * 100, "deterministic"), [100.0 * w for w in range(101)], seed=0)
    assert np.diff(even) == pytest.approx(1000.0)  # gaps of ten windows


def test_counts_vary_as_the_process_says() -> None:
    arrivals = Arrivals.build([2.0], "gamma", 2.0)
    counts = np.array([len(times(arrivals, [0, 2000], seed)) for seed in range(1500)])
    assert counts.var() / counts.mean() == pytest.approx(4.0, rel=0.15)  # dispersion tends to cv^2


def test_calling_in_pieces_changes_no_bit() -> None:
    arrivals = Arrivals.build([3.0, 0.0, 9.0], ["weibull", "gamma", "gamma"], [2.0, 1.0, 4.0])
    edges = np.array([10.0, 300.0, 400.0, 1000.0])
    whole = times(arrivals, list(edges), seed=3)
    process = ArrivalProcess(arrivals, edges, np.random.default_rng(3))
    pieces = [process.until(end) for end in [0.0, 10.0, 11.5, 300.0, 350.0, 399.0, 400.0, 401.0, 990.0, 5000.0]]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert all((p < end).all() for p, end in zip(pieces, [0, 10, 11.5, 300], strict=False))


def test_silence_has_no_arrivals() -> None:
    assert len(times(Arrivals.build([0.0, 0.0], "gamma", 1.0), [0, 10, 20], seed=0)) == 0


@pytest.mark.parametrize("cv", [0.01, 0.3, 1.0, 5.0, 800.0])
def test_weibull_shape_has_the_cv(cv: float) -> None:
    from scipy.special import gammaln

    k = gap_shapes(Arrivals.build([1.0], "weibull", cv))[0]
    assert np.sqrt(np.expm1(gammaln(1 + 2 / k) - 2 * gammaln(1 + 1 / k))) == pytest.approx(cv, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate_per_s": []}, "rate_per_s: is empty"),
        ({"rate_per_s": [1.0, -2.0]}, "rate_per_s, row 1: -2.0 is not a finite rate"),
        ({"rate_per_s": [np.nan]}, "rate_per_s, row 0: nan is not a finite rate"),
        ({"rate_per_s": ["x"]}, "rate_per_s: is not a list of numbers"),
        ({"rate_per_s": [[1.0]]}, "rate_per_s: has shape"),
        ({"rate_per_s": [1.0], "family": "gama"}, "did you mean 'gamma'"),
        ({"rate_per_s": [1.0, 2.0], "family": ["gamma"]}, "family: has 1 windows, rate_per_s has 2"),
        ({"rate_per_s": [1.0], "family": "gamma"}, "cv: missing"),
        ({"rate_per_s": [1.0], "family": "weibull", "cv": 0.0}, "cv, row 0: 0.0 does not suit"),
        ({"rate_per_s": [1.0, 1.0], "family": "gamma", "cv": [1.0, -1.0]}, "cv, row 1: -1.0 does not suit"),
        ({"rate_per_s": [1.0], "family": "poisson", "cv": 2.0}, "cv, row 0: 2.0 does not suit"),
        ({"rate_per_s": [1.0], "family": "empirical"}, "gaps: missing"),
        ({"rate_per_s": [1.0], "family": "empirical", "gaps": [0.0]}, "gaps: sum to 0"),
        ({"rate_per_s": [1.0], "family": "empirical", "gaps": [1.0, -1.0]}, "gaps, row 1: -1.0"),
    ],
)
def test_errors(arguments: dict, message: str) -> None:
    with pytest.raises(WorkloadError) as error:
        Arrivals.build(**arguments)
    assert message in str(error.value) and "\n" not in str(error.value)
