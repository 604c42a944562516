"""Workloads of one arrival process, for comparison with those that are composed of clients.

What ServeGen (arXiv 2505.09999) calls naive: one renewal process with the rate and burstiness of the aggregate, and
lengths resampled from the whole. They keep the means and lose what clients bring: rates that change, bursts
longer than a gap, lengths that drift.
"""

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals import ArrivalProcess, Arrivals
from workloads.errors import WorkloadError, did_you_mean
from workloads.nominal import nominal_arrival_s
from workloads.workload import Workload

PROCESSES = ("poisson", "gamma", "weibull")

# BurstGPT's own generator, https://github.com/HPMLL/BurstGPT, example/src/burstgpt/config.py.
BURSTGPT_GAP_SHAPE = 0.5
BURSTGPT_ZIPF_EXPONENT = 1.1
BURSTGPT_TOKENS_BELOW = 1024  # of prompt and of output


def naive(
    workload: Workload,
    process: str,
    seed: int,
    *,
    rate_per_s: float | None = None,
    cv: float | None = None,
    duration_s: float | None = None,
) -> Workload:
    """One process of independent gaps over `duration_s`, with requests resampled from `workload`.

    process: "poisson", "gamma" or "weibull". Each request has the input, output and category of a row drawn with
        replacement; it stands alone, without client, session or prefix.
    rate_per_s, cv (standard deviation over mean of the gaps), duration_s: as `workload` has them, where they are
        not given; a Poisson process has a CV of 1 and takes none.
    The number of requests varies as the process says. Raises WorkloadError for a bad parameter.
    """
    if process not in PROCESSES:
        raise WorkloadError(f"naive: unknown process '{process}'; {did_you_mean(process, PROCESSES)}")
    if process == "poisson" and cv is not None:
        raise WorkloadError("naive: cv is given for a Poisson process, whose CV is 1; choose gamma or weibull")
    source_s = np.sort(nominal_arrival_s(workload))
    gaps = np.diff(source_s)
    span_s = float(source_s[-1] - source_s[0])
    if span_s == 0 and (rate_per_s is None or duration_s is None or (cv is None and process != "poisson")):
        raise WorkloadError("naive: all requests arrive at one instant; give rate_per_s, cv and duration_s")
    rate_per_s = len(gaps) / span_s if rate_per_s is None else rate_per_s
    duration_s = span_s if duration_s is None else duration_s
    if process != "poisson" and cv is None:
        cv = float(gaps.std() / gaps.mean())
    _require_positive("naive", rate_per_s=rate_per_s, duration_s=duration_s, **({} if cv is None else {"cv": cv}))
    times, rows = np.random.SeedSequence(seed).spawn(2)
    arrivals = Arrivals.build([rate_per_s], process, cv)
    arrival_s = _times(arrivals, duration_s, np.random.default_rng(times))
    row = np.random.default_rng(rows).integers(len(workload), size=len(arrival_s))
    return Workload.build(
        arrival_s=arrival_s,
        input_tokens=workload.input_tokens[row],
        output_tokens=workload.output_tokens[row],
        category_names=workload.category_names,
        category=workload.category[row],
    )


def burstgpt_like(rate_per_s: float, duration_s: float, seed: int) -> Workload:
    """Gamma gaps of shape 0.5 (CV 1.41) and prompts and outputs of Zipf length, as BurstGPT's generator has them.

    P(k tokens) is proportional to k to the power of -1.1, for k from 1 to 1023; prompt and output are independent.
    """
    _require_positive("burstgpt_like", rate_per_s=rate_per_s, duration_s=duration_s)
    times, inputs, outputs = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    arrival_s = _times(Arrivals.build([rate_per_s], "gamma", BURSTGPT_GAP_SHAPE**-0.5), duration_s, times)
    weight = np.cumsum(np.arange(1.0, BURSTGPT_TOKENS_BELOW) ** -BURSTGPT_ZIPF_EXPONENT)

    def lengths(rng: np.random.Generator) -> NDArray[np.int64]:
        return 1 + np.searchsorted(weight / weight[-1], rng.random(len(arrival_s)), side="right")

    return Workload.build(arrival_s=arrival_s, input_tokens=lengths(inputs), output_tokens=lengths(outputs))


def _times(arrivals: Arrivals, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The arrivals in [0, duration_s)."""
    arrival_s = ArrivalProcess(arrivals, np.array([0.0, duration_s]), rng).until(duration_s)
    if len(arrival_s) == 0:
        raise WorkloadError(f"no request comes within {duration_s} s; choose a longer duration or a higher rate")
    return arrival_s


def _require_positive(what: str, **parameters: float) -> None:
    for name, value in parameters.items():
        if not 0 < value < float("inf"):
            raise WorkloadError(f"{what}: {name} must be a positive number, got {value}")
