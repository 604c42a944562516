"""Pools: what is in them, spans and filters."""

import numpy as np
import pytest

from workloads.arrivals import Arrivals
from workloads.clients import NO_LENGTHS, Client, ClientPool
from workloads.errors import WorkloadError
from workloads.lengths import Empirical, Exponential, Lengths

SHORT = Lengths(Exponential(100), Exponential(10))
LONG = Lengths(Empirical.from_pdf({4000: 0.5, 6000: 0.5}), Exponential(50))
EDGES = [0.0, 600.0, 1200.0, 1800.0]


def pool() -> ClientPool:
    return ClientPool.build(
        "two",
        EDGES,
        [
            Client.build(
                7, Arrivals.build([1.0, 2.0, 0.0], "gamma", [0.5, 3.0, 0.0]), (SHORT, LONG), [0, 1, NO_LENGTHS]
            ),
            Client.build(3, Arrivals.build([4.0, 4.0, 4.0]), SHORT),
        ],
    )


def test_aggregates() -> None:
    assert pool().rate_per_s.tolist() == [5, 6, 4]
    assert pool().shares == pytest.approx([3 / 15, 12 / 15])
    nan = np.nan
    np.testing.assert_array_equal(pool().values("cv"), [[0.5, 3.0, nan], [1, 1, 1]])
    np.testing.assert_array_equal(pool().values("mean_input_tokens"), [[100, 5000, nan], [100, 100, 100]])
    np.testing.assert_array_equal(pool().values("mean_output_tokens"), [[10, 50, nan], [10, 10, 10]])


def test_cdfs_by_window() -> None:
    cdfs = pool().cdfs("rate_per_s")
    assert list(cdfs) == [0, 600, 1200]
    assert [part.tolist() for part in cdfs[600.0]] == [[2, 4], [0.5, 1]]
    assert [part.tolist() for part in cdfs[1200.0]] == [[4], [1]]


def test_span_cuts_windows() -> None:
    part = pool().span(500, 1300)
    assert part.edges_s.tolist() == [500, 600, 1200, 1300]
    assert part.rate_per_s.tolist() == [5, 6, 4]
    assert pool().span(650, 700).client_rates_per_s.tolist() == [[2], [4]]
    assert part.span(600, 1200).rate_per_s.tolist() == [6]


def test_filters_silence_windows() -> None:
    assert pool().filter(cv=(2, 9)).client_rates_per_s.tolist() == [[0, 2, 0]]
    assert pool().filter(rate_per_s=(2, 4)).client_rates_per_s.tolist() == [[0, 2, 0], [4, 4, 4]]
    assert pool().filter(mean_input_tokens=(0, 200)).client_rates_per_s.tolist() == [[1, 0, 0], [4, 4, 4]]
    assert pool().filter(mean_output_tokens=(20, 90), cv=(0, 9)).client_rates_per_s.tolist() == [[0, 2, 0]]


def test_take_scaled_and_correlated() -> None:
    assert [client.id for client in pool().take([3]).clients] == [3]
    assert pool().scaled(0.5).rate_per_s.tolist() == [2.5, 3, 2]
    assert pool().scaled([1, 0, 2]).rate_per_s.tolist() == [5, 0, 8]
    assert {own.correlation for client in pool().correlated(0.4).clients for own in client.lengths} == {0.4}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pool().span(-1, 100), "no span from -1 to 100 s; it covers 0.0 to 1800.0 s"),
        (lambda: pool().span(0, 1801), "no span from 0 to 1801 s"),
        (lambda: pool().span(600, 600), "no span from 600 to 600 s"),
        (lambda: pool().filter(cv=(50, 60)), "no window of any client passes"),
        (lambda: pool().values("mean_input_token"), "did you mean 'mean_input_tokens'"),
        (lambda: pool().take([4]), "has no client 4"),
        (lambda: pool().correlated(2), "correlation"),
        (lambda: ClientPool.build("x", EDGES, []), "has no clients"),
        (lambda: ClientPool.build("x", [0, 0, 1], pool().clients), "edges_s"),
        (lambda: ClientPool.build("x", [0, 1], pool().clients), "client 7 has 3 windows, not 1"),
        (lambda: ClientPool.build("x", EDGES, [pool().clients[0]] * 2), "two clients have the id 7"),
        (lambda: Client.build(-1, Arrivals.build([1.0]), SHORT), "client -1: id"),
        (lambda: Client.build(1, Arrivals.build([1.0]), SHORT, [0, 0]), "lengths_of_window has shape (2,)"),
        (lambda: Client.build(1, Arrivals.build([1.0, 1.0]), SHORT, [0, 1]), "window 1: 1 is no lengths"),
        (lambda: Client.build(1, Arrivals.build([1.0, 1.0]), SHORT, [NO_LENGTHS, 0]), "window 0: -1 is no lengths"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(WorkloadError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)
