"""From a trace or a ServeGen folder to a compact pool."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workloads.arrivals import EMPIRICAL, GAMMA, LEAST_CV, MOST_CV, WEIBULL
from workloads.clients import Client, ClientPool
from workloads.errors import WorkloadError
from workloads.fit.clients import clients_of
from workloads.fit.merge import merged
from workloads.pools.file import CV_STEP, RATE_STEP, log_rounded, save_pool
from workloads.servegen import read_servegen
from workloads.traces import load
from workloads.workload import Workload

WINDOW_S = 600.0
LENGTHS_S = 6 * 3600.0
TOLERANCE = 0.05  # by which laws of lengths may differ to be kept as one; see `merged`


def fit_pool(
    source: Workload | ClientPool,
    *,
    name: str | None = None,
    window_s: float = WINDOW_S,
    lengths_s: float = LENGTHS_S,
    tolerance: float = TOLERANCE,
    origin: str | None = None,
) -> ClientPool:
    """The compact pool of a trace (a client for each of its clients) or of a pool, clients by share, largest first.

    Windows stay those of the pool, or are about `window_s` long for a trace. Rates are rounded by at most 1 %, CVs
    by 2 %. Laws of lengths become quantile tables, and those that differ by little become one, as `merged` says; for a
    trace they last about `lengths_s`. `origin` (source and licence of the data) becomes the first note.
    What `save_pool` writes and `load_pool` reads is the same pool, number for number. Raises WorkloadError.
    """
    if isinstance(source, Workload):
        source = clients_of(source, name or "trace", window_s, lengths_s)
    if not 0 <= tolerance < np.inf:
        raise WorkloadError(f"fit: tolerance must be a number from 0 on, got {tolerance}")
    if not (source.client_rates_per_s > 0).any():
        raise WorkloadError(f"pool '{source.name}': no client is ever active; there is nothing to fit")
    if source.is_linked:
        raise WorkloadError(f"pool '{source.name}': has conversations or prefixes, which a compact pool cannot hold")
    order = np.argsort(-source.shares, kind="stable")
    active = [source.clients[i] for i in order if (source.clients[i].arrivals.rate_per_s > 0).any()]
    rounded = [_rounded(source.name, client) for client in active]
    notes = (*([origin] if origin else []), *source.notes)
    return merged(ClientPool.build(name or source.name, source.edges_s, rounded, notes), tolerance)


def fit_source(
    path: str | Path,
    format: str = "servegen",
    *,
    out: str | Path | None = None,
    missing_lengths: str = "borrow",
    name: str | None = None,
    window_s: float = WINDOW_S,
    lengths_s: float = LENGTHS_S,
    origin: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> ClientPool:
    """`fit_pool` of a ServeGen folder, or of a trace file in one of `workloads.formats()`, written to `out` if given.

    missing_lengths: as in `read_servegen`; for ServeGen only. options: those of the trace format.
    """
    path = Path(path)
    if format == "servegen":
        if options:
            raise WorkloadError(f"fit: unknown option '{min(options)}' of format 'servegen'; it has missing_lengths")
        source: Workload | ClientPool = read_servegen(path, missing_lengths)
    else:
        source = load(path, format, **(options or {}))
        name = name or path.name.split(".")[0]
    pool = fit_pool(source, name=name, window_s=window_s, lengths_s=lengths_s, origin=origin)
    if out is not None:
        save_pool(pool, out)
    return pool


def _rounded(pool: str, client: Client) -> Client:
    arrivals = client.arrivals
    if ((arrivals.family == EMPIRICAL) & (arrivals.rate_per_s > 0)).any():
        raise WorkloadError(f"pool '{pool}': client {client.id} has empirical gaps, which a compact pool cannot hold")
    shaped = (arrivals.family == GAMMA) | (arrivals.family == WEIBULL)
    cv = np.where(shaped, log_rounded(arrivals.cv, CV_STEP).clip(0, MOST_CV), arrivals.cv)
    cv = np.where(shaped & (cv > 0), cv.clip(min=LEAST_CV), cv)
    rate = log_rounded(arrivals.rate_per_s, RATE_STEP)
    family = np.where(rate > 0, arrivals.family, 0).astype(np.int8)
    return replace(client, arrivals=replace(arrivals, rate_per_s=rate, cv=cv, family=family, gaps=np.empty(0)))
