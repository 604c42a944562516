"""Workloads side by side, in what decides how many servers they need: bursts and tails."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from workloads.characterize.arrivals import DISPERSION_BINS_S, dispersion, peak_to_mean
from workloads.nominal import nominal_arrival_s
from workloads.workload import Workload

TAILS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def compare(workloads: Mapping[str, Workload]) -> pd.DataFrame:
    """A row per measure, a column per workload.

    Rate (1/s) and CV of the gaps; dispersion and peak-to-mean of the counts in 1, 10 and 60 s; quantiles of input
    and output tokens. Follow-ups count at their nominal times; NaN where a workload is too short for a measure.
    """
    return pd.DataFrame({name: _measures(workload) for name, workload in workloads.items()})


def _measures(workload: Workload) -> dict[str, float]:
    arrival_s = np.sort(nominal_arrival_s(workload))
    since_s, gaps = arrival_s - arrival_s[0], np.diff(arrival_s)
    spread = since_s[-1] > 0
    measures = {
        "requests": float(len(workload)),
        "rate, 1/s": len(gaps) / since_s[-1] if spread else float("nan"),
        "CV of the gaps": gaps.std() / gaps.mean() if spread else float("nan"),
    }
    measures |= {f"dispersion, {bin_s} s": dispersion(since_s, bin_s) for bin_s in DISPERSION_BINS_S}
    measures |= {f"peak to mean, {bin_s} s": peak_to_mean(since_s, bin_s) for bin_s in DISPERSION_BINS_S}
    for kind, tokens in (("input", workload.input_tokens), ("output", workload.output_tokens)):
        measures |= {f"{kind} {name}, tokens": float(np.quantile(tokens, q)) for name, q in TAILS.items()}
    return measures


def comparison_table(comparison: pd.DataFrame) -> str:
    """The comparison as a Markdown table."""
    lines = ["| | " + " | ".join(comparison.columns) + " |", "|---" * (1 + comparison.shape[1]) + "|"]
    for name, values in comparison.iterrows():
        cells = (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" for value in values)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot_comparison(workloads: Mapping[str, Workload], path: str | Path, bin_s: float = 1.0) -> None:
    """A PNG sheet: requests per bin of `bin_s` over time, dispersion by bin, tails of input and of output."""
    sheet = Figure(figsize=(13, 7), layout="constrained")
    rate, spread, inputs, outputs = np.ravel(sheet.subplots(2, 2))
    comparison = compare(workloads)
    for name, workload in workloads.items():
        arrival_s = nominal_arrival_s(workload)
        counts = np.bincount(((arrival_s - arrival_s.min()) / bin_s).astype(np.int64))
        rate.step(np.arange(len(counts)) * bin_s, counts / bin_s, where="post", label=name, linewidth=0.7, alpha=0.7)
        values = [comparison.loc[f"dispersion, {width} s", name] for width in DISPERSION_BINS_S]
        spread.plot(DISPERSION_BINS_S, values, "o-", label=name)
        for ax, tokens in ((inputs, workload.input_tokens), (outputs, workload.output_tokens)):
            ordered = np.sort(tokens)
            ax.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), where="post", label=name)
    rate.set(title="Rate", xlabel="time, s", ylabel=f"requests/s in {bin_s:g} s")
    spread.set(title="Dispersion of counts", xlabel="bin, s", ylabel="variance / mean", xscale="log", yscale="log")
    for ax, kind in ((inputs, "Input"), (outputs, "Output")):
        ax.set(title=f"{kind}: tail", xlabel="tokens", ylabel="share at least so long", xscale="log", yscale="log")
    for ax in (rate, spread, inputs, outputs):
        ax.legend()
    sheet.savefig(path, dpi=110, metadata={"Software": None})
