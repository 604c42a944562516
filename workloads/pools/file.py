"""Compact pools as files: the arrays of an .npz, compressed by xz."""

import io
import json
import lzma
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals import DETERMINISTIC, FAMILIES, GAMMA, POISSON, WEIBULL, Arrivals
from workloads.clients import Client, ClientPool
from workloads.errors import WorkloadError
from workloads.lengths import Law, Lengths
from workloads.pools.fields import RATIO_DIGITS, laws_of, lengths_of
from workloads.pools.quantile_table import LEVEL_UNIT, QuantileTable

SUFFIX = ".npz.xz"
RATE_STEP, CV_STEP = 0.02, 0.04  # logs of rates and CVs are multiples of these
_VERSION = 1
_SILENT = -(2**15)  # code of 0


def log_rounded(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """`values` from 0 on with logs rounded to multiples of `step`, as a file holds them."""
    return _decoded(_encoded(values, step), step)


def save_pool(pool: ClientPool, path: str | Path) -> None:
    """Write a pool that `fit_pool` made. The same pool gives the same bytes."""
    shared = pool.clients[0].lengths
    if any(client.lengths is not shared for client in pool.clients):
        raise WorkloadError(f"{path}: pool '{pool.name}' is not compact; give what fit_pool makes of it")
    arrivals = [client.arrivals for client in pool.clients]
    about = {"version": _VERSION, "name": pool.name, "notes": pool.notes, "families": FAMILIES}
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "edges_s": pool.edges_s,
        "ids": np.array([client.id for client in pool.clients], np.int32),
        "rate": _encoded(np.stack([own.rate_per_s for own in arrivals]), RATE_STEP),
        "cv": _encoded(np.stack([own.cv for own in arrivals]), CV_STEP),
        "family": np.stack([own.family for own in arrivals]),
        "lengths_of_window": np.stack([client.lengths_of_window for client in pool.clients]),
        **_packed(shared),
    }
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    Path(path).write_bytes(lzma.compress(memory.getvalue(), preset=9))


def read_pool(path: str | Path) -> ClientPool:
    """The pool in a file that `save_pool` wrote. Raises WorkloadError naming the file."""
    path = Path(path)
    if path.is_dir():
        raise WorkloadError(f"{path}: is a folder, no pool; fit it first, with fit_source")
    try:
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(str(arrays["about"]))
        if about["version"] != _VERSION or tuple(about["families"]) != FAMILIES:
            raise WorkloadError(f"{path}: is of another version; fit the pool again")
        return _pool(about, arrays)
    except FileNotFoundError:
        raise WorkloadError(f"{path}: no such file") from None
    except WorkloadError as error:
        message = str(error)
        raise WorkloadError(message if message.startswith(str(path)) else f"{path}: {message}") from None
    except (OSError, lzma.LZMAError, EOFError, zipfile.BadZipFile, ValueError, KeyError, IndexError, TypeError):
        raise WorkloadError(f"{path}: is no pool, or damaged; fit it again with fit_source") from None


def _pool(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ClientPool:
    rate = _decoded(arrays["rate"], RATE_STEP)
    family = arrays["family"].astype(np.int8)
    # Poisson and deterministic have a CV of their own, which logs do not hold
    cv = np.where(np.isin(family, (GAMMA, WEIBULL)), _decoded(arrays["cv"], CV_STEP), np.where(family == POISSON, 1, 0))
    cv = np.where(rate > 0, cv, 0.0)
    if not np.isin(family, (POISSON, GAMMA, WEIBULL, DETERMINISTIC)).all():
        raise WorkloadError("family: has an unknown code")
    shared = _unpacked(arrays)
    clients = [
        Client.build(
            int(id_), Arrivals(rate[row], cv[row], family[row], np.empty(0)), shared, arrays["lengths_of_window"][row]
        )
        for row, id_ in enumerate(arrays["ids"])
    ]
    return ClientPool.build(about["name"], arrays["edges_s"], clients, tuple(about["notes"]))


def _packed(shared: tuple[Lengths, ...]) -> dict[str, NDArray[Any]]:
    """Points of all quantile tables, one after the other; a law that some lengths lack has none."""
    every = [laws_of(lengths) for lengths in shared]
    fields = sorted({name for laws in every for name in laws})
    points, levels, steps = [], [np.empty(0)], [np.empty(0)]
    for laws in every:
        for field in fields:
            table = laws.get(field)
            points.append(0 if table is None else len(table.levels))  # type: ignore[attr-defined]
            if isinstance(table, QuantileTable):
                levels.append(table.levels / LEVEL_UNIT)
                steps.append(np.diff(table.values * 10**table.digits, prepend=0))
    return {
        "fields": np.array(fields),
        "correlation": np.array([lengths.correlation for lengths in shared]),
        "points": np.array(points, np.uint8).reshape(len(shared), len(fields)),
        "levels": np.rint(np.concatenate(levels)).astype(np.uint16),
        "steps": np.rint(np.concatenate(steps)).astype(np.int32),
    }


def _unpacked(arrays: Mapping[str, NDArray[Any]]) -> tuple[Lengths, ...]:
    fields = [str(field) for field in arrays["fields"]]
    levels, steps = arrays["levels"] * LEVEL_UNIT, arrays["steps"]
    end, every = 0, []
    for points, correlation in zip(arrays["points"], arrays["correlation"], strict=True):
        laws: dict[str, Law] = {}
        for field, count in zip(fields, points, strict=True):
            start, end = end, end + int(count)
            if count:
                digits = RATIO_DIGITS if field == "reason_ratio" else 0
                laws[field] = QuantileTable(levels[start:end], np.cumsum(steps[start:end]) / 10**digits, digits)
        every.append(lengths_of(laws, float(correlation)))
    return tuple(every)


def _encoded(values: NDArray[np.float64], step: float) -> NDArray[np.int16]:
    logs = np.log(values, out=np.zeros_like(values), where=values > 0)
    return np.where(values > 0, np.rint(logs / step), _SILENT).astype(np.int16)


def _decoded(codes: NDArray[np.int16], step: float) -> NDArray[np.float64]:
    return np.where(codes == _SILENT, 0.0, np.exp(codes * step))
