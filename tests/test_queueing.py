"""Degenerate scenarios are the textbook's queues, and their means are the textbook's.

Requests come as a Poisson process of rate lambda; S is a service time, rho the load of a server, W the time a request
waits before its service, T = W + S its time in the system, N the number in the system. Unless a docstring says
otherwise the formulae hold for the integer service times that are drawn, not just for the continuous distribution that
they stand for, so that nothing but chance and, where named, the length of a step separates simulation and theory.

Means of a run are judged by the method of batch means (Law, Simulation Modeling and Analysis, section 9.5.3): the
warm-up is dropped, the rest is cut into `BATCHES` runs of successive requests, long enough for their means to be all
but independent, and Student's t gives the 99 % confidence interval of the mean from those. The theoretical value must
lie within it, and the interval must be narrow enough for the test to mean something.
"""

from math import factorial
from typing import Any, NamedTuple

import numpy as np
import pytest
from harness import LONGEST_REQUEST_TOKENS, PS_PER_S
from scipy import stats

from sim.cluster import Cluster
from sim.kernel.build import Engine, Group, Requests
from sim.kernel.steptime import StepTable

BATCHES = 40
WARM_UP = 0.1  # fraction of the requests, and of the samples, that is dropped
CONFIDENCE = 0.99
MEAN_TOKENS = 1000  # of a service: the unit of service time is a thousandth of its mean
MEAN_SERVICE_S = 1.0
TOKEN_PS = PS_PER_S // MEAN_TOKENS
TOKEN_S = TOKEN_PS / PS_PER_S
SAMPLES = 10_000  # of the number in the system, in a run


class Service(NamedTuple):
    """Service times in tokens, and the exact moments of their distribution in seconds."""

    tokens: np.ndarray
    mean_s: float
    mean_square_s2: float


def exponential(random: np.random.Generator, count: int) -> Service:
    """Geometric token counts, the discrete exponential distribution: E[n^2] = (2 - p) / p^2 with p = 1 / E[n]."""
    p = 1 / MEAN_TOKENS
    return Service(random.geometric(p, count), MEAN_TOKENS * TOKEN_S, (2 - p) / p**2 * TOKEN_S**2)


def deterministic(random: np.random.Generator, count: int) -> Service:
    return Service(np.full(count, MEAN_TOKENS), MEAN_SERVICE_S, MEAN_SERVICE_S**2)


def bimodal(random: np.random.Generator, count: int) -> Service:
    """One request in ten is long: 5,500 tokens against 500, a squared coefficient of variation of 2.25."""
    lengths, chances = np.array([500, 5500]), np.array([0.9, 0.1])
    tokens = random.choice(lengths, count, p=chances)
    return Service(tokens, lengths @ chances * TOKEN_S, lengths**2 @ chances * TOKEN_S**2)


DISTRIBUTIONS = {"exponential": exponential, "deterministic": deterministic, "bimodal": bimodal}


class Run(NamedTuple):
    """What a run showed, in seconds, a row a request; and the number in the system at regular times."""

    arrival_s: np.ndarray
    wait_s: np.ndarray
    in_system_s: np.ndarray
    sample_s: np.ndarray
    in_system: np.ndarray


def serve(
    arrival_rate_per_s: float,
    input_tokens: np.ndarray,
    output_tokens: np.ndarray,
    seats: int,
    steps: StepTable,
    random: np.random.Generator,
) -> Run:
    """One instance with ample memory, no prefix cache and ``seats`` seats in its batch serves Poisson arrivals.

    A step is scheduled at its start: the theory lets a request begin as soon as a seat is free, and bounds the wait by
    one step, where asynchronous scheduling adds another to both.
    """
    count = len(input_tokens)
    nothing = np.zeros(count, np.int64)
    none = nothing - 1
    arrival_s = np.cumsum(random.exponential(1 / arrival_rate_per_s, count))
    arrival_ps = np.rint(arrival_s * PS_PER_S).astype(np.int64)
    requests = Requests(arrival_ps, input_tokens, output_tokens, nothing, none, nothing, none, *(nothing,) * 3)
    block_size = 4096
    engine = Engine(
        num_blocks=1 + seats * (2 + int((input_tokens + output_tokens).max()) // block_size),
        block_size=block_size,
        max_num_seqs=seats,
        max_num_batched_tokens=len(steps.linear_ps) - 1,
        prefix_caching=False,
        async_scheduling=False,
    )
    cluster = Cluster(requests, [Group(engine, steps, 1)], router="round-robin")
    cluster.run(sample_interval_ps=int(arrival_ps[-1]) // SAMPLES)
    req, samples = cluster.state.req, cluster.samples()
    in_system = (samples.running + samples.waiting)[:, 0]
    while_they_come = samples.time_ps <= arrival_ps[-1]
    return Run(
        arrival_s=req["arrival"] / PS_PER_S,
        wait_s=(req["first_scheduled"] - req["arrival"]) / PS_PER_S,
        in_system_s=(req["finish"] - req["arrival"]) / PS_PER_S,
        sample_s=samples.time_ps[while_they_come] / PS_PER_S,
        in_system=in_system[while_they_come],
    )


def steps_of(most_tokens: int, seats: int, **tables: Any) -> StepTable:
    """Tables that are zero but for ``tables``."""
    by_tokens, by_sequences = np.zeros(most_tokens + 1, np.int64), np.zeros(seats + 1, np.int64)
    nothing = StepTable(
        *(by_tokens, by_sequences, by_tokens, by_tokens, np.zeros(LONGEST_REQUEST_TOKENS + 1, np.int64)),
        *(by_sequences, by_sequences, by_sequences, by_sequences, 0, 0, 0),
    )
    return nothing._replace(**tables)


def confidence_interval(values: np.ndarray) -> tuple[float, float]:
    """Mean of a stationary series, and half the width of its confidence interval, by batch means."""
    kept = values[int(WARM_UP * len(values)) :]
    batch = len(kept) // BATCHES
    means = kept[: batch * BATCHES].reshape(BATCHES, batch).mean(axis=1)
    quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, BATCHES - 1)
    return float(means.mean()), float(quantile * means.std(ddof=1) / np.sqrt(BATCHES))


def assert_mean(what: str, values: np.ndarray, theory: float, resolution: float = 0.0, precision: float = 0.05) -> None:
    """``theory`` lies within the confidence interval, half of which is narrower than ``precision`` of it.

    ``resolution`` bounds by how much the length of a step can move the mean.
    """
    mean, half_width = confidence_interval(values)
    assert half_width < precision * theory, f"{what}: the run is too short to tell"
    assert abs(mean - theory) < half_width + resolution, f"{what}: {mean:.4f} +- {half_width:.4f}, theory {theory:.4f}"


def assert_little(run: Run) -> None:
    """Little's law, N = lambda T, between what was measured apart: the instance's own count of requests at regular
    times, and the requests' times. Each count is what the requests' times say; their mean differs by chance alone.
    """
    arrived = np.searchsorted(run.arrival_s, run.sample_s)
    left = np.searchsorted(np.sort(run.arrival_s + run.in_system_s), run.sample_s)
    assert np.array_equal(run.in_system, arrived - left)
    late = slice(int(WARM_UP * len(run.arrival_s)), None)
    arrival_rate_per_s = 1 / np.diff(run.arrival_s[late]).mean()
    number, half_width = confidence_interval(run.in_system)
    assert abs(number - arrival_rate_per_s * run.in_system_s[late].mean()) < half_width


# --- one server, first come first served ------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 0.7])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_one_seat_is_m_g_1(distribution: str, load: float) -> None:
    """M/M/1, M/D/1 and M/G/1: Pollaczek-Khinchine, W = lambda E[S^2] / (2 (1 - rho)), T = W + E[S], N = lambda T.

    One seat, outputs of one token, and prefill time proportional to the prompt: a request's one step is its service.
    For exponential service W = rho / (1 - rho) E[S], for constant service half of that.
    """
    random = np.random.default_rng(1)
    service = DISTRIBUTIONS[distribution](random, 400_000)
    tokens = service.tokens
    most_tokens = int(tokens.max())
    steps = steps_of(most_tokens, 1, prefill_ps=TOKEN_PS * np.arange(most_tokens + 1))
    arrival_rate_per_s = load / service.mean_s
    run = serve(arrival_rate_per_s, tokens, np.ones_like(tokens), 1, steps, random)
    wait_s = arrival_rate_per_s * service.mean_square_s2 / (2 * (1 - load))
    assert_mean("wait", run.wait_s, wait_s)
    assert_mean("time in system", run.in_system_s, wait_s + service.mean_s)
    number = arrival_rate_per_s * (wait_s + service.mean_s)
    assert_mean("number in system", run.in_system, number, precision=0.1)
    assert_little(run)
    assert np.array_equal(np.rint((run.in_system_s - run.wait_s) / TOKEN_S), tokens), "service takes what it should"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_waiting_times_follow_lindley(distribution: str) -> None:
    """Each wait is exactly Lindley's: W(k+1) = max(0, W(k) + S(k) - A(k)) with A the gap between arrivals."""
    random = np.random.default_rng(2)
    tokens = DISTRIBUTIONS[distribution](random, 5_000).tokens
    most_tokens = int(tokens.max())
    steps = steps_of(most_tokens, 1, prefill_ps=TOKEN_PS * np.arange(most_tokens + 1))
    run = serve(0.9 / MEAN_SERVICE_S, tokens, np.ones_like(tokens), 1, steps, random)
    wait_s = np.zeros(len(tokens))
    for k, gap_s in enumerate(np.diff(run.arrival_s)):
        wait_s[k + 1] = max(0.0, wait_s[k] + tokens[k] * TOKEN_S - gap_s)
    assert run.wait_s == pytest.approx(wait_s, abs=1e-6)


# --- many servers -----------------------------------------------------------------------------------------------------


def erlang_c(servers: int, offered: float) -> float:
    """Chance that an M/M/c queue with ``offered`` = lambda E[S] makes an arrival wait."""
    waiting = offered**servers / factorial(servers) * servers / (servers - offered)
    return waiting / (sum(offered**k / factorial(k) for k in range(servers)) + waiting)


@pytest.mark.parametrize(("seats", "load"), [(2, 0.6), (4, 0.7), (16, 0.8)])
def test_seats_are_m_m_c(seats: int, load: float) -> None:
    """M/M/c: W = C(c, a) E[S] / (c (1 - rho)), with C Erlang's delay formula and a = lambda E[S].

    Steps take the same time whatever is in them, so each of the c seats serves a token a step. Prompts have one token
    and outputs a geometric number, one a step from the first on. A request that comes in the middle of a step is
    admitted at the next, which costs it less than a step, a thousandth of a service.
    """
    random = np.random.default_rng(3)
    service = exponential(random, 500_000)
    steps = steps_of(seats, seats, linear_ps=np.full(seats + 1, TOKEN_PS))
    arrival_rate_per_s = load * seats / service.mean_s
    run = serve(arrival_rate_per_s, np.ones_like(service.tokens), service.tokens, seats, steps, random)
    wait_s = erlang_c(seats, load * seats) * service.mean_s / (seats * (1 - load))
    number = arrival_rate_per_s * (wait_s + service.mean_s)
    assert_mean("wait", run.wait_s, wait_s, TOKEN_S, precision=0.1)
    assert_mean("time in system", run.in_system_s, wait_s + service.mean_s, TOKEN_S)
    assert_mean("number in system", run.in_system, number, arrival_rate_per_s * TOKEN_S, precision=0.1)
    assert_little(run)
    waiting = (run.wait_s >= TOKEN_S).astype(float)
    # Who waits for less than a step has found a seat free, but for those whose seat falls free within that step.
    assert_mean("chance to wait", waiting, erlang_c(seats, load * seats), load * seats / MEAN_TOKENS)


# --- processor sharing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_batch_that_slows_down_is_m_g_1_processor_sharing(distribution: str) -> None:
    """M/G/1-PS: T = E[S] / (1 - rho) whatever the distribution, and x / (1 - rho) for a service of x
    (Kleinrock, Queueing Systems II, section 4.4).

    A step with D requests takes D token times and gives each a token: they share a server that makes a token per
    token time. There are so many seats that nobody waits for one. A request that comes in the middle of a step joins
    at the next, and those of a step get their tokens together at its end: less than two steps of N + 1 requests.
    """
    load = 0.7
    random = np.random.default_rng(4)
    service = DISTRIBUTIONS[distribution](random, 400_000)
    seats = 256
    steps = steps_of(seats, seats, linear_ps=TOKEN_PS * np.maximum(1, np.arange(seats + 1)))
    arrival_rate_per_s = load / service.mean_s
    run = serve(arrival_rate_per_s, np.ones_like(service.tokens), service.tokens, seats, steps, random)
    number = load / (1 - load)
    resolution_s = 2 * (number + 1) * TOKEN_S
    assert run.in_system.max() < seats, "nobody waits for a seat"
    assert_mean("time in system", run.in_system_s, service.mean_s / (1 - load), resolution_s)
    assert_mean("number in system", run.in_system, number, arrival_rate_per_s * resolution_s, precision=0.1)
    assert_little(run)
    for low, high in ((200, 1000), (1000, 10**9)):
        some = (service.tokens >= low) & (service.tokens < high)
        if some.any():
            slowdown = run.in_system_s[some] / (service.tokens[some] * TOKEN_S)
            assert_mean(f"slowdown of {low} to {high} tokens", slowdown, 1 / (1 - load), resolution_s / (low * TOKEN_S))
