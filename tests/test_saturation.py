"""A queue that only grows is told from one that is busy, from a burst that drains and from a day's ups and downs."""

import json

import numpy as np
import pytest

from sim.saturation import FEWEST_REQUESTS, Saturation, saturation

REQUESTS = 4000


def served(random: np.random.Generator, arrival_s: np.ndarray) -> Saturation:
    """One server of exponential services of mean 1 s; waits by Lindley's recursion, which a degenerate run of the
    simulator follows exactly (test_queueing.py).
    """
    service_s = random.exponential(1.0, len(arrival_s))
    drift = np.concatenate(([0.0], np.cumsum(service_s[:-1] - np.diff(arrival_s))))
    start_s = arrival_s + drift - np.minimum.accumulate(drift)
    return saturation(arrival_s, start_s, start_s + service_s, np.ones(len(arrival_s), bool))


def poisson(random: np.random.Generator, load: float, count: int = REQUESTS) -> np.ndarray:
    return np.cumsum(random.exponential(1 / load, count))


def flagged(load: float, seeds: int) -> float:
    """Share of the seeds."""
    randoms = [np.random.default_rng([int(1000 * load), seed]) for seed in range(seeds)]
    return float(np.mean([served(random, poisson(random, load)).saturated for random in randoms]))


@pytest.mark.parametrize("load", [0.7, 0.9, 0.95])
def test_a_busy_server_is_not_saturated(load):
    assert flagged(load, seeds=200) <= 0.01


@pytest.mark.parametrize("load", [1.1, 1.5])
def test_an_overloaded_server_is(load):
    assert flagged(load, seeds=200) >= 0.95


def test_growth_and_rates_are_those_of_the_queue():
    random = np.random.default_rng(0)
    told = served(random, poisson(random, 1.5, 20_000))
    assert told.saturated and told.unknown is None
    assert told.offered_per_s == pytest.approx(1.5, rel=0.03)
    assert told.served_per_s == pytest.approx(1.0, rel=0.03)
    assert told.growth_per_s == pytest.approx(0.5, rel=0.1)
    assert told.backlog_requests == pytest.approx(20_000 / 3, rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_a_burst_that_drains_is_not_saturation(seed):
    random = np.random.default_rng([1, seed])
    burst = np.full(400, 800.0)  # a tenth of all requests at once, twenty minutes of work at half load
    arrival_s = np.sort(np.concatenate((poisson(random, 0.5), burst)))
    assert not served(random, arrival_s).saturated


@pytest.mark.parametrize("seed", range(20))
def test_a_day_that_is_overloaded_at_noon_is_not_saturation(seed):
    """Load 0.7 + 0.5 sin over a day of 86,400 services: above 1 for six hours, and worked off by night."""
    random = np.random.default_rng([2, seed])
    candidates = np.cumsum(random.exponential(1 / 1.2, 110_000))
    candidates = candidates[candidates < 86_400]
    load = 0.7 - 0.5 * np.cos(2 * np.pi * candidates / 86_400)
    arrival_s = candidates[random.random(len(candidates)) < load / 1.2]
    told = served(random, arrival_s)
    assert told.saturated is False and told.backlog_requests < 100


def test_a_load_that_crosses_capacity_for_good_is_saturation():
    random = np.random.default_rng(3)
    arrival_s = np.concatenate((poisson(random, 0.7, 2000), 2000 / 0.7 + poisson(random, 1.5, 4000)))
    assert served(random, np.sort(arrival_s)).saturated


def test_nobody_can_tell_from_few_requests_or_from_one_instant():
    random = np.random.default_rng(4)
    few = served(random, poisson(random, 2.0, FEWEST_REQUESTS - 1))
    assert few.saturated is None and few.unknown and "fewer than 200" in few.unknown
    at_once = served(random, np.zeros(1000))
    assert at_once.saturated is None and at_once.unknown and "one instant" in at_once.unknown


def test_run_says_so_and_ends_well(servesim):
    options = ["--builtin", "chatbot", "--set", "workload.options={requests: 3000, rate_per_s: 60.0, between_s: 10.0}"]
    status, printed, error = servesim("run", *options, "--instances", 1)
    assert status == 0 and "lmetric is saturated" in error and "*" in printed
    status, printed, error = servesim("run", *options, "--instances", 8, "--json")
    told = json.loads(printed)["saturated"]
    assert status == 0 and error == "" and told["saturated"] is False
