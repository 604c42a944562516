"""Sweeps of concurrency: clients that send their next request when the last one is answered."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hardware_profiles import ProfileError
from workloads import Workload

from ..deployment import deployment
from ..errors import SimError
from ..latency import LatencyModel
from ..simulation import run_scenario
from .comparison import Comparison
from .engine import MeasuredEngine
from .names import engine_profile, gpu_profile, group_name, model_profile, precision_name
from .runs import read_table, reject_gaps

COLUMNS = (
    "id",
    "backend",
    "model_path",
    "system",
    "isl",
    "osl",
    "concurrency",
    "tp_size",
    "silicon_ttft_ms",
    "silicon_tpot_ms",
)
SEGMENT = "closed-loop"
WARM_UP_ROUNDS = 2  # of each client, not compared: all clients start at once
MEASURED_ROUNDS = 8  # of each client; the harness that measured does not say how many it took
QUEUEING_TTFT_S = 10.0  # a longer one measures the queue in front of the engine
QUEUEING = "TTFT beyond 10 s is a queue of the harness"


@dataclass(frozen=True)
class Sample(MeasuredEngine):
    """One measured point: means over a run with ``concurrency`` clients and equal requests; lengths in tokens."""

    id: str
    group: str
    input_tokens: int
    output_tokens: int
    concurrency: int
    ttft_s: float
    tpot_s: float


def read_samples(path: Path) -> list[Sample]:
    """The rows of a CSV file; docs/validation.md lists the columns. Raises `SimError` that names the row by its id."""
    table = read_table(path, COLUMNS)
    reject_gaps(table, COLUMNS, path)
    return [_sample(row, f"{path}: {row['id']}") for _, row in table.iterrows()]


def _sample(row: pd.Series, where: str) -> Sample:
    def number(column: str) -> float:
        value = float(pd.to_numeric(row.get(column, 1), errors="coerce"))
        if not 0 < value < np.inf:
            raise SimError(f"{where}: {column}: expected a number above 0, found {row[column]!r}")
        return value

    quantized = [row[column] for column in ("gemm_quant_mode", "precision") if pd.notna(row.get(column))]
    precision = precision_name(str(quantized[0]) if quantized else "bf16")
    model, tp = model_profile(str(row["model_path"]), where), round(number("tp_size"))
    return Sample(
        id=str(row["id"]),
        group=group_name(model, row["system"], row["backend"], precision, f"TP{tp}"),
        model=model,
        gpu=gpu_profile(str(row["system"]), where),
        serving_engine=engine_profile(str(row["backend"]), where),
        precision=precision,
        tp=tp,
        pp=round(number("pp_size")),
        input_tokens=round(number("isl")),
        output_tokens=round(number("osl")),
        concurrency=round(number("concurrency")),
        ttft_s=number("silicon_ttft_ms") / 1e3,
        tpot_s=number("silicon_tpot_ms") / 1e3,
    )


def workload(sample: Sample, front_end_s: float) -> Workload:
    """Each client's rounds as one chain of follow-ups, all prompts different; row = round x clients + client.

    The next request reaches the engine when the front end has passed on the last answer.
    """
    clients = sample.concurrency
    rows = clients * (WARM_UP_ROUNDS + MEASURED_ROUNDS)
    first = np.arange(rows) < clients
    return Workload.build(
        arrival_s=np.where(first, 0.0, np.nan),
        input_tokens=np.full(rows, sample.input_tokens),
        output_tokens=np.full(rows, sample.output_tokens),
        client=np.arange(rows) % clients,
        parent=np.where(first, -1, np.arange(rows) - clients),
        think_s=np.where(first, 0.0, front_end_s),
    )


def predict(sample: Sample) -> tuple[float, float]:
    """Mean TTFT and mean TPOT in seconds of the rounds after warm-up; NaN for the TPOT of a single output token."""
    scenario = sample.scenario(sample.id)
    front_end_s = float(LatencyModel(deployment(scenario)).front_end_s(np.array(sample.input_tokens)))
    requests = run_scenario(scenario, workload(sample, front_end_s)).requests
    measured = requests.iloc[sample.concurrency * WARM_UP_ROUNDS :]
    return float(measured["ttft_s"].mean()), float(measured["tpot_s"].mean())


def compare_samples(samples: list[Sample]) -> Iterator[Comparison]:
    """Two comparisons a sample. One that cannot be simulated has no prediction, and its note says why."""
    for sample in samples:
        note = None
        predicted: tuple[float | None, float | None] = (None, None)
        try:
            predicted = predict(sample)
        except (SimError, ProfileError) as error:
            note = str(error)
        queueing = QUEUEING if sample.ttft_s > QUEUEING_TTFT_S else None
        yield Comparison(sample.id, sample.group, SEGMENT, "ttft_mean_s", predicted[0], sample.ttft_s, note or queueing)
        if sample.output_tokens > 1:
            yield Comparison(sample.id, sample.group, SEGMENT, "tpot_mean_s", predicted[1], sample.tpot_s, note)
