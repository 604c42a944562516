"""Workloads composed of clients: every client runs by itself, and their requests are merged in order of time."""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workloads.client_run import REASON, ClientRun, runs_of_lengths, stream
from workloads.clients import ClientPool
from workloads.errors import WorkloadError
from workloads.files import complete_file
from workloads.linking import link
from workloads.workload import Workload

# Requests per second: constant; by second from the workload's start on which it begins to hold, from 0;
# or a function of seconds from the workload's start.
Rate = float | Mapping[float, float] | Callable[[float], float]
RATE_STEP_S = 60.0  # a rate function is taken to be constant over steps of at most this, at its value in the middle

CHUNK_REQUESTS = 500_000


def generate(
    pool: ClientPool,
    *,
    seed: int,
    start_s: float | None = None,
    duration_s: float | None = None,
    rate_per_s: Rate | None = None,
    scale: float = 1.0,
) -> Workload:
    """The requests of `pool` from `start_s` on for `duration_s` (default: all of it), in order of arrival from 0 s.

    With `scale`, every client sends at that multiple of its own rate. With `rate_per_s` instead, all clients are
    scaled alike, window by window, so that the expected rate of the whole is the one given; shares, families and CVs
    stay. Each client's draws depend on `seed` and its id alone: with `scale`, adding a client leaves the requests of
    the others unchanged.

    Conversations run on beyond the end. Where clients hold any, rates are those of first requests, and rows are the
    conversations in order of their first request, turn by turn. Raises WorkloadError for a span outside the pool, a
    bad rate, or when no request arrives.
    """
    pool = _prepared(pool, start_s, duration_s, rate_per_s, scale)
    workloads = _linked(pool, seed) if pool.is_linked else list(_chunks(pool, seed, pool.edges_s[-1:]))
    if not workloads:
        raise WorkloadError("generate: no request arrives; make the duration longer or the rate higher")
    return workloads[0]


def generate_chunks(
    pool: ClientPool,
    *,
    seed: int,
    start_s: float | None = None,
    duration_s: float | None = None,
    rate_per_s: Rate | None = None,
    scale: float = 1.0,
    chunk_requests: int = CHUNK_REQUESTS,
) -> Iterator[Workload]:
    """The rows of `generate`, in consecutive workloads of about `chunk_requests` rows, in bounded memory.

    Rows are those of `generate`, byte for byte, whatever the size of the chunks. Chunks in which nothing arrives are
    left out. Raises WorkloadError for a pool whose clients hold conversations or share prefixes: their rows refer to
    rows of other chunks.
    """
    if chunk_requests < 1:
        raise WorkloadError(f"generate: chunk_requests must be at least 1, got {chunk_requests}")
    if pool.is_linked:
        raise WorkloadError(f"pool '{pool.name}': conversations and prefixes reach across chunks; use generate")
    pool = _prepared(pool, start_s, duration_s, rate_per_s, scale)
    expected = np.append(0.0, np.cumsum(pool.rate_per_s * np.diff(pool.edges_s)))
    cuts = np.interp(np.arange(chunk_requests, expected[-1], chunk_requests), expected, pool.edges_s)
    return _chunks(pool, seed, np.append(cuts, pool.edges_s[-1]))


def write_parquet(path: str | Path, chunks: Iterator[Workload]) -> int:
    """Write consecutive workloads without references between rows into one file; returns the number of rows.

    `Workload.from_parquet` reads it. The file appears under its name when it is complete.
    """
    path = Path(path)
    writer, rows = None, 0
    with complete_file(path) as partial:
        try:
            for chunk in chunks:
                if (chunk.parent >= 0).any() or (chunk.prefix_request >= 0).any():
                    raise WorkloadError(
                        "write_parquet: rows refer to other rows, whose numbers hold within a chunk only"
                    )
                memory = io.BytesIO()
                chunk.to_parquet(memory)  # type: ignore[arg-type]
                table = pq.ParquetFile(memory).read()
                writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
                writer.write_table(table)
                rows += len(chunk)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise WorkloadError(f"{path}: no request to write; make the duration longer or the rate higher")
    return rows


def reason_tokens(
    pool: ClientPool, workload: Workload, *, seed: int, start_s: float | None = None
) -> NDArray[np.int32]:
    """(N,) how many of each row's output tokens are reasoning, the rest being the answer.

    `workload` is what `generate` made of `pool` with the same seed and start. Raises WorkloadError where a client has
    no reason ratio.
    """
    tokens = np.zeros(len(workload), np.int32)
    offset_s = float(pool.edges_s[0]) if start_s is None else start_s
    first = np.arange(len(workload)) - workload.turn  # a conversation has the lengths of the window where it starts
    for client in pool.clients:
        rows = np.flatnonzero(workload.client == client.id)
        u = stream(seed, client.id, REASON).random(len(rows))
        for lengths, part in runs_of_lengths(client, pool.edges_s, workload.arrival_s[first[rows]] + offset_s):
            if lengths.reason_ratio is None:
                raise WorkloadError(f"pool '{pool.name}': client {client.id} has no reason ratio")
            ratio = lengths.reason_ratio.quantile(u[part])
            tokens[rows[part]] = np.rint(ratio * workload.output_tokens[rows[part]])
    return tokens


def _prepared(
    pool: ClientPool, start_s: float | None, duration_s: float | None, rate_per_s: Rate | None, scale: float
) -> ClientPool:
    """The pool over the wanted span, with the wanted rates."""
    if duration_s is not None and not 0 < duration_s < math.inf:
        raise WorkloadError(f"generate: duration_s must be a positive number, got {duration_s}")
    start = float(pool.edges_s[0]) if start_s is None else start_s
    pool = pool.span(start, float(pool.edges_s[-1]) if duration_s is None else start + duration_s)
    if not 0 < scale < math.inf:
        raise WorkloadError(f"generate: scale must be a positive number, got {scale}")
    if rate_per_s is None:
        return pool if scale == 1 else pool.scaled(scale)
    if scale != 1:
        raise WorkloadError("generate: give scale or rate_per_s, not both")
    return _at_rate(pool, rate_per_s)


def _at_rate(pool: ClientPool, rate_per_s: Rate) -> ClientPool:
    """The pool with all clients scaled alike so that the whole has this rate, on borders where the rate changes too."""
    start_s, end_s = pool.edges_s[0], pool.edges_s[-1]
    if callable(rate_per_s):
        steps = np.linspace(start_s, end_s, math.ceil((end_s - start_s) / RATE_STEP_S) + 1)
        pool = pool.on_edges(np.union1d(pool.edges_s, steps))
        middle_s = (pool.edges_s[:-1] + pool.edges_s[1:]) / 2 - start_s
        wanted = np.array([rate_per_s(float(t)) for t in middle_s], np.float64)
    else:
        rates = dict(rate_per_s) if isinstance(rate_per_s, Mapping) else {0.0: rate_per_s}
        begins_s = np.array(list(rates), np.float64)
        if len(begins_s) == 0 or begins_s[0] != 0 or not (np.diff(begins_s) > 0).all():
            raise WorkloadError(f"generate: rate_per_s must begin at 0 s and go on in order of time, got {list(rates)}")
        borders = start_s + begins_s
        pool = pool.on_edges(np.union1d(pool.edges_s, borders[borders < end_s]))
        holds = np.searchsorted(borders, pool.edges_s[:-1], side="right") - 1
        wanted = np.array(list(rates.values()), np.float64)[holds]
    bad = ~(np.isfinite(wanted) & (wanted >= 0))
    if bad.any():
        window = int(bad.argmax())
        raise WorkloadError(f"generate: rate_per_s is {wanted[window]} at {pool.edges_s[window] - start_s} s")
    own = pool.rate_per_s
    if ((own == 0) & (wanted > 0)).any():
        silent_s = pool.edges_s[int(((own == 0) & (wanted > 0)).argmax())]
        raise WorkloadError(f"pool '{pool.name}': no client is active at {silent_s} s; use scale or another span")
    return pool.scaled(np.divide(wanted, own, out=np.zeros(len(own)), where=own > 0))


def _chunks(pool: ClientPool, seed: int, ends_s: NDArray[np.float64]) -> Iterator[Workload]:
    """The requests up to each of `ends_s`, where there are any."""
    runs = [ClientRun(client, pool.edges_s, seed) for client in sorted(pool.clients, key=lambda client: client.id)]
    for end_s in ends_s:
        parts = [run.until(end_s) for run in runs]
        arrival_s, input_tokens, output_tokens = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not len(arrival_s):
            continue
        client = np.repeat([run.client.id for run in runs], [len(part[0]) for part in parts])
        order = np.argsort(arrival_s, kind="stable")  # the lower id first where arrivals coincide
        yield Workload.build(
            arrival_s=arrival_s[order] - pool.edges_s[0],
            input_tokens=input_tokens[order],
            output_tokens=output_tokens[order],
            client=client[order],
            category_names=(pool.name,),
        )


def _linked(pool: ClientPool, seed: int) -> list[Workload]:
    """All requests of a pool with conversations or prefixes; none if nothing arrives."""
    clients = sorted(pool.clients, key=lambda client: client.id)
    talks = [ClientRun(client, pool.edges_s, seed).conversations(seed) for client in clients]
    if not any(len(talk.turns.turn) for talk in talks):
        return []
    return [link(pool.name, clients, talks)]
