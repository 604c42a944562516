"""A trace as a pool: a client for each that the trace has, with what it did in each window."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from workloads.clients import Client, ClientPool
from workloads.errors import WorkloadError
from workloads.fit.arrivals import fit_arrivals
from workloads.lengths import Empirical, Lengths
from workloads.nominal import nominal_arrival_s
from workloads.workload import Workload

LEAST_LENGTHS = 200  # requests by which a law of lengths is known; with fewer it is shared or lasts longer


def clients_of(workload: Workload, name: str, window_s: float, lengths_s: float) -> ClientPool:
    """The pool of a trace: windows of about `window_s`, and laws of lengths that last about `lengths_s`, in seconds.

    All rows without a client are one more. Clients with fewer than LEAST_LENGTHS requests share one law of lengths,
    and so do the periods of a client with fewer on average. Input and output keep their rank correlation. Sessions,
    prefixes and the order in which requests follow each other are not kept; follow-ups count at nominal times.
    """
    for parameter, value in (("window_s", window_s), ("lengths_s", lengths_s)):
        if not 0 < value < np.inf:
            raise WorkloadError(f"fit: {parameter} must be a positive number of seconds, got {value}")
    arrival_s = nominal_arrival_s(workload)
    span_s = float(np.ptp(arrival_s))
    if span_s == 0:
        raise WorkloadError("fit: all requests arrive at one instant, so there is no rate; give a longer trace")
    edges_s = float(arrival_s.min()) + np.linspace(0, span_s, max(1, round(span_s / window_s)) + 1)
    order = np.argsort(arrival_s, kind="stable")
    sender = np.where(workload.client < 0, workload.client.max() + 1, workload.client)[order]
    time_s, tokens = arrival_s[order], np.stack([workload.input_tokens, workload.output_tokens])[:, order]

    ids, rank, requests = np.unique(sender, return_inverse=True, return_counts=True)
    small = requests < LEAST_LENGTHS
    shared = _lengths(tokens[:, small[rank]]) if small.any() else None
    by_client = np.split(np.argsort(rank, kind="stable"), np.cumsum(requests)[:-1])
    clients = []
    for id_, rows in zip(ids, by_client, strict=True):
        arrivals = fit_arrivals(time_s[rows], edges_s)
        if len(rows) < LEAST_LENGTHS:
            assert shared is not None
            clients.append(Client.build(int(id_), arrivals, shared))
        else:
            laws, holds = _by_period(time_s[rows], tokens[:, rows], edges_s, lengths_s)
            clients.append(Client.build(int(id_), arrivals, laws, holds))
    notes = [f"{len(workload)} requests in {span_s:g} s of {len(ids)} clients"]
    if (workload.session >= 0).any() or (workload.prefix_request >= 0).any():
        notes.append("sessions and shared prefixes of the trace are not kept: prompts have their full length")
    return ClientPool.build(name, edges_s, clients, tuple(notes))


def _by_period(
    time_s: NDArray[np.float64], tokens: NDArray[np.int32], edges_s: NDArray[np.float64], lengths_s: float
) -> tuple[list[Lengths], NDArray[np.int64]]:
    """Lengths of equal shares of the client's requests, and (W,) which hold: each begins with a window."""
    wanted = max(1, round((edges_s[-1] - edges_s[0]) / lengths_s))
    periods = min(wanted, len(edges_s) - 1, len(time_s) // LEAST_LENGTHS)
    starts_s = np.append(edges_s[0], time_s[np.arange(1, periods) * len(time_s) // periods])
    windows_from = np.unique(np.searchsorted(edges_s[:-1], starts_s, side="right") - 1)
    holds = np.searchsorted(windows_from, np.arange(len(edges_s) - 1), side="right") - 1
    row_period = holds[np.searchsorted(edges_s, time_s, side="right").clip(1, len(holds)) - 1]
    return [_lengths(tokens[:, row_period == period]) for period in range(len(windows_from))], holds


def _lengths(tokens: NDArray[np.int32]) -> Lengths:
    """The empirical lengths of (2, N) tokens of input and output."""
    laws = []
    for row in tokens:
        values, counts = np.unique(row, return_counts=True)
        laws.append(Empirical.build(values, counts / counts.sum()))
    varies = all(len(law.values) > 1 for law in laws)
    correlation = round(float(spearmanr(*tokens).statistic), 2) if varies else 0.0
    return Lengths(laws[0], laws[1], correlation=correlation)
