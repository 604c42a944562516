"""Intervals by batch means cover what they should, on a queue whose mean is known."""

import numpy as np
import pytest
import test_queueing
from scipy import stats
from test_queueing import MEAN_SERVICE_S, TOKEN_PS, exponential, serve, steps_of

from sim import make_scenario, simulate
from sim.batch_means import CORRELATED, FEWEST_VALUES, TOO_FEW, half_width, half_width_of_rate, share_interval
from workloads import Workload

REPLICATIONS, REQUESTS, WARM_UP = 200, 4000, 400
LOAD = 0.5


def least_covered(intervals: int) -> float:
    """Of so many 95 % intervals, a fair method covers fewer once in a thousand times."""
    return float(stats.binom.ppf(0.001, intervals, 0.95))


def test_intervals_of_m_m_1_cover_mean_wait_and_share(monkeypatch):
    """Mean wait rho / (1 - rho) E[S]; the chance to wait for longer than t is rho exp(-(1 - rho) t / E[S])."""
    monkeypatch.setattr(test_queueing, "SAMPLES", 10)
    limit_s = 2.0
    share = 1 - LOAD * np.exp(-(1 - LOAD) * limit_s / MEAN_SERVICE_S)
    means, shares = [], []
    for seed in range(REPLICATIONS):
        random = np.random.default_rng(seed)
        tokens = exponential(random, REQUESTS + WARM_UP).tokens
        most = int(tokens.max())
        steps = steps_of(most, 1, prefill_ps=TOKEN_PS * np.arange(most + 1))
        wait_s = serve(LOAD / MEAN_SERVICE_S, tokens, np.ones_like(tokens), 1, steps, random).wait_s[WARM_UP:]
        width, within = half_width(wait_s).value, share_interval(wait_s <= limit_s)
        if width is not None:
            means.append(abs(wait_s.mean() - LOAD / (1 - LOAD) * MEAN_SERVICE_S) <= width)
        if within.low is not None:
            shares.append(within.low <= share <= within.high)
    for covered in (means, shares):
        assert len(covered) > 0.8 * REPLICATIONS, "correlated batches are rare in runs that are long enough"
        assert sum(covered) >= least_covered(len(covered))


def test_independent_values_are_covered():
    random = np.random.default_rng(0)
    widths = [(abs(values.mean()), half_width(values).value) for values in random.normal(size=(1000, 400))]
    covered = [mean <= width for mean, width in widths if width is not None]
    assert least_covered(len(covered)) <= sum(covered) <= 0.99 * len(covered)


def test_there_is_no_interval_from_few_or_correlated_values():
    assert half_width(np.zeros(FEWEST_VALUES - 1)) == (None, TOO_FEW)
    assert half_width(np.arange(10_000.0)) == (None, CORRELATED)
    assert share_interval(np.arange(1000) < 500) == (0.5, None, None)
    assert share_interval(np.zeros(0, bool)) == (None, None, None)
    assert half_width(np.ones(1000)) == (0.0, None)


def test_a_share_of_one_has_an_interval():
    told = share_interval(np.ones(1000, bool))
    assert told.share == told.high == 1.0 and 0.99 < told.low < 1.0


def test_a_rate_is_that_of_equal_shares_of_the_time():
    random = np.random.default_rng(1)
    times_s = np.sort(random.uniform(0, 1000, 5000))
    width = half_width_of_rate(times_s, np.full(5000, 3), (0.0, 1000.0)).value
    assert width is not None and 0 < width < 1.5, "15 a second, by chance alone +- 3 sqrt(5 / 1000) x 2.3"


def test_the_summary_has_intervals_or_says_why_not():
    random = np.random.default_rng(2)
    scenario = make_scenario({"workload": {"builtin": "chatbot"}, "instances": 2})
    ones = np.ones(3000, int)
    many = Workload.build(
        arrival_s=np.cumsum(random.exponential(0.2, 3000)), input_tokens=500 * ones, output_tokens=ones
    )
    told = simulate(scenario, workload=many).summary
    assert 0 < told["ttft_s"]["ci95"] < 0.1 * told["ttft_s"]["mean"]
    assert told["requests_per_s"] == pytest.approx(5, abs=3 * told["requests_per_s_ci95"])
    assert told["tpot_s"]["ci95"] is None and told["confidence"]["absent"]["tpot_s"] == TOO_FEW
