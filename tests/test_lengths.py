"""Laws of lengths: quantile, mean and cdf agree; correlation is as configured."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from workloads.errors import WorkloadError
from workloads.lengths import (
    Empirical,
    Exponential,
    Lengths,
    LogNormal,
    Media,
    Mixture,
    Pareto,
    correlated_output_u,
    whole_tokens,
)

LAWS = [
    LogNormal(300, 0.8),
    Pareto(50, 1.3, 1e6),
    Pareto(50, 1.0, 1e4),
    Exponential(200),
    Mixture((LogNormal(20, 0.3), LogNormal(3000, 0.5), Pareto(100, 2.5, 1e5)), (0.3, 0.5, 0.2)),
]
U = np.linspace(0, 1, 2001)[1:-1]


@pytest.mark.parametrize("law", LAWS)
def test_quantile_inverts_the_cdf(law: LogNormal) -> None:
    x = law.quantile(U)
    assert (np.diff(x) > 0).all()
    assert law.cdf(x) == pytest.approx(U, abs=1e-5)


@pytest.mark.parametrize("law", LAWS)
def test_mean(law: LogNormal) -> None:
    # the integral of the quantile, finely near 1 where the tail is
    tail = 10.0 ** -np.linspace(0, 11, 400_001)
    u = 1 - tail
    integral = float(np.sum((law.quantile(u)[1:] + law.quantile(u)[:-1]) / 2 * np.diff(u)))
    assert law.mean() == pytest.approx(integral, rel=2e-3)


def test_empirical_is_kept_as_it_is() -> None:
    law = Empirical.from_pdf({10: 0.5, 3: 0.2, 700: 0.3})
    assert law.values.tolist() == [3, 10, 700] and law.probabilities.tolist() == [0.2, 0.5, 0.3]
    assert law.quantile(np.array([0.0, 0.1999, 0.2001, 0.6999, 0.7001, 1 - 1e-16])).tolist() == [3, 3, 10, 10, 700, 700]
    assert law.mean() == pytest.approx(215.6)
    assert law.cdf(np.array([2.0, 3.0, 9.0, 10.0, 1e9])) == pytest.approx([0, 0.2, 0.2, 0.7, 1])


def test_values_of_probability_0_are_never_drawn() -> None:
    law = Empirical.build([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 0.5, 0.0])
    assert set(law.quantile(np.append(0.0, U))) == {1.0, 2.0}
    assert law.quantile(np.array([np.nextafter(1, 0)])) == [2.0]


def test_pooled_is_the_weighted_mean_of_the_laws() -> None:
    law = Empirical.pooled([Empirical.from_pdf({1: 1.0}), Empirical.from_pdf({1: 0.5, 2: 0.5})], [3, 1])
    assert law.values.tolist() == [1, 2] and law.probabilities == pytest.approx([0.875, 0.125])


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.0, 0.5, 0.95, 1.0])
def test_rank_correlation_is_as_configured(correlation: float) -> None:
    rng = np.random.default_rng(0)
    u, v = rng.random(200_000), rng.random(200_000)
    w = correlated_output_u(u, v, correlation)
    assert spearmanr(LAWS[0].quantile(u), LAWS[3].quantile(w)).statistic == pytest.approx(correlation, abs=0.01)
    assert np.quantile(w, [0.01, 0.5, 0.99]) == pytest.approx([0.01, 0.5, 0.99], abs=0.005)


def test_mean_input_counts_media() -> None:
    images = Media(Empirical.from_pdf({0: 0.5, 4: 0.5}), Empirical.from_pdf({600: 1.0}))
    lengths = Lengths(Exponential(100), Exponential(10), media={"image": images})
    assert lengths.mean_input_tokens == pytest.approx(1300) and lengths.mean_output_tokens == 10


def test_whole_tokens() -> None:
    assert whole_tokens(np.array([0.0, 0.2, 1.0, 1.01, 7.0])).tolist() == [1, 1, 1, 2, 7]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Empirical.build([], []), "is empty"),
        (lambda: Empirical.build([1, 2], [1.0]), "give one for each"),
        (lambda: Empirical.build([2, 1], [0.5, 0.5]), "values, row 1: 1.0 does not increase"),
        (lambda: Empirical.build([1, 1], [0.5, 0.5]), "values, row 1: 1.0 does not increase"),
        (lambda: Empirical.build([-1, 1], [0.5, 0.5]), "values, row 0: -1.0"),
        (lambda: Empirical.build([1, np.nan], [0.5, 0.5]), "values, row 1: nan"),
        (lambda: Empirical.build([1, 2], [0.5, 0.4]), "sum to 0.9, not 1"),
        (lambda: Empirical.build([1, 2], [1.5, -0.5]), "probabilities, row 1: -0.5"),
        (lambda: LogNormal(0, 1), "LogNormal: median must be a positive number, got 0"),
        (lambda: LogNormal(1, float("nan")), "LogNormal: sigma"),
        (lambda: Pareto(10, 1, 5), "Pareto: maximum 5 must be above minimum 10"),
        (lambda: Exponential(-1), "Exponential: mean_tokens"),
        (lambda: Mixture((Exponential(1),), (0.5,)), "weights sum to 0.5"),
        (lambda: Mixture((Exponential(1),), ()), "1 parts and 0 weights"),
        (lambda: Mixture((Empirical.from_pdf({1: 1.0}),), (1.0,)), "Empirical.pooled"),
        (
            lambda: Lengths(Exponential(1), Exponential(1), correlation=1.5),
            "correlation: must be a number from -1 to 1",
        ),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(WorkloadError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)
