"""One process and resampled lengths."""

import numpy as np
import pytest
from scipy import stats

from workloads import Workload, WorkloadError
from workloads.naive import PROCESSES, burstgpt_like, naive


@pytest.fixture(scope="module")
def source() -> Workload:
    rng = np.random.default_rng(0)
    requests = 5000
    inputs = rng.integers(1, 3000, requests)
    return Workload.build(
        arrival_s=np.cumsum(rng.gamma(0.25, 0.4, requests)),
        input_tokens=inputs,
        output_tokens=inputs // 10 + 1,
        category=inputs % 2,
        category_names=["even", "odd"],
    )


def gap_cv(workload: Workload) -> float:
    gaps = np.diff(workload.arrival_s)
    return gaps.std() / gaps.mean()


@pytest.mark.parametrize("process", PROCESSES)
def test_it_has_the_rate_cv_and_rows_of_its_source(source: Workload, process: str):
    workload = naive(source, process, seed=1, duration_s=40 * source.span_s)
    rate = (len(source) - 1) / source.span_s
    # Counts of a renewal process have a variance of about CV^2 n: 4 standard deviations.
    cv = 1.0 if process == "poisson" else gap_cv(source)
    expected = rate * 40 * source.span_s
    assert abs(len(workload) - expected) < 4 * cv * expected**0.5
    assert gap_cv(workload) == pytest.approx(cv, rel=0.05)
    assert (workload.output_tokens == workload.input_tokens // 10 + 1).all()  # whole rows are drawn
    assert (workload.category == workload.input_tokens % 2).all()
    assert stats.ks_2samp(workload.input_tokens, source.input_tokens).statistic < 0.02
    assert (workload.prefix_request == -1).all()


def test_same_seed_same_requests(source: Workload):
    assert naive(source, "gamma", seed=1) == naive(source, "gamma", seed=1)
    assert naive(source, "gamma", seed=1) != naive(source, "gamma", seed=2)


def test_the_named_family_is_drawn(source: Workload):
    gaps = np.diff(naive(source, "weibull", 0, rate_per_s=10.0, cv=2.0, duration_s=4000.0).arrival_s)
    shape = 0.5427  # 1 + 2^2 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2
    assert stats.kstest(gaps, stats.weibull_min(shape, scale=0.1 / stats.weibull_min(shape).mean()).cdf).pvalue > 1e-3
    gaps = np.diff(naive(source, "gamma", 0, rate_per_s=10.0, cv=2.0, duration_s=4000.0).arrival_s)
    assert stats.kstest(gaps, stats.gamma(0.25, scale=0.4).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process": "gama"}, "unknown process 'gama'; did you mean 'gamma'?"),
        ({"process": "poisson", "cv": 2.0}, "cv is given for a Poisson process"),
        ({"process": "gamma", "cv": 0.0}, "cv must be a positive number, got 0.0"),
        ({"process": "gamma", "rate_per_s": -1.0}, "rate_per_s must be a positive number, got -1.0"),
        ({"process": "gamma", "duration_s": float("nan")}, "duration_s must be a positive number, got nan"),
        ({"process": "poisson", "rate_per_s": 1e-9}, "no request comes within"),
    ],
)
def test_bad_parameters(source: Workload, options: dict, message: str):
    with pytest.raises(WorkloadError) as caught:
        naive(source, seed=0, **options)
    assert message in str(caught.value)


def test_a_burst_at_one_instant_needs_parameters():
    burst = Workload.build(arrival_s=[0.0, 0.0], input_tokens=[1, 2], output_tokens=[3, 4])
    with pytest.raises(WorkloadError, match="give rate_per_s, cv and duration_s"):
        naive(burst, "gamma", 0)
    assert len(naive(burst, "poisson", 0, rate_per_s=5.0, duration_s=100.0)) > 300


def test_burstgpt_like():
    workload = burstgpt_like(rate_per_s=20.0, duration_s=2000.0, seed=0)
    assert len(workload) == pytest.approx(40_000, rel=0.04)
    gaps = np.diff(workload.arrival_s)
    assert stats.kstest(gaps, stats.gamma(0.5, scale=0.1).cdf).pvalue > 1e-3
    weight = np.arange(1, 1024.0) ** -1.1
    for tokens in (workload.input_tokens, workload.output_tokens):
        counts = np.bincount(np.minimum(tokens, 10), minlength=11)[1:]
        expected = np.append(weight[:9], weight[9:].sum()) / weight.sum() * len(workload)
        assert stats.chisquare(counts, expected).pvalue > 1e-3
        assert tokens.max() <= 1023
    assert abs(stats.spearmanr(workload.input_tokens, workload.output_tokens).statistic) < 0.03
    with pytest.raises(WorkloadError, match="rate_per_s must be a positive number"):
        burstgpt_like(rate_per_s=0.0, duration_s=1.0, seed=0)
