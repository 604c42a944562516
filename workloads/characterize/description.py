"""Everything that is told of a workload, in one object that goes to JSON."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.characterize.arrivals import ArrivalStatistics, describe_arrivals, suitable_window_s
from workloads.characterize.gaps import Gaps, describe_gaps
from workloads.characterize.lengths import LengthStatistics, describe_lengths
from workloads.characterize.people import (
    Clients,
    Conversations,
    describe_clients,
    describe_conversations,
)
from workloads.characterize.reuse import Reuse, describe_reuse
from workloads.errors import WorkloadError
from workloads.nominal import nominal_arrival_s
from workloads.workload import Workload


@dataclass(frozen=True)
class Description:
    """What `describe` found; docs/characterization.md defines each figure.

    nominal_arrivals: how many requests are follow-ups, whose arrival depends on the cluster; they are described
    at their nominal times. clients and conversations are None where the workload has none.
    """

    summary: dict[str, int | float]
    nominal_arrivals: int
    arrivals: ArrivalStatistics
    gaps: Gaps
    input: LengthStatistics
    output: LengthStatistics
    input_output_rank_correlation: float
    clients: Clients | None
    conversations: Conversations | None
    reuse: Reuse

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings; None for what is not known (NaN)."""
        return _plain(dataclasses.asdict(self))

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def headline(self) -> list[tuple[str, str]]:
        """The main figures as (name, value) with units, for a table."""
        arrivals, reuse, clients, talks = self.arrivals, self.reuse, self.clients, self.conversations
        rows = [
            ("requests", f"{self.summary['requests']:,}"),
            ("span", f"{arrivals.span_s:,.0f} s"),
            ("rate", f"{arrivals.mean_rate_per_s:.4g} requests/s"),
            ("CV of the gaps", f"{arrivals.gap_cv:.3g}"),
            *((f"dispersion of counts in {s} s", f"{value:.3g}") for s, value in arrivals.dispersion.items()),
            *((f"gaps, {fit.family}", f"shape {fit.shape:.3g}, KS {fit.ks:.3f}") for fit in self.gaps.fits),
            ("input tokens", _lengths(self.input)),
            ("output tokens", _lengths(self.output)),
            ("rank correlation of input and output", f"{self.input_output_rank_correlation:.3f}"),
        ]
        if clients is not None:
            rows.append(("clients", f"{clients.count:,}; {clients.for_90_percent:,} carry 90 %"))
            rows.append(("share of the top 10 clients", f"{clients.top_share[10]:.1%}"))
        if talks is not None:
            rows.append(("conversations", f"{talks.count:,} of {talks.mean_turns:.3g} turns on average"))
        rows.append((f"ideal hit ratio, blocks of {reuse.block_tokens}", f"{reuse.hit_ratio:.1%} of prompt tokens"))
        for name, times in reuse.reuse_times.items():
            seconds = ", ".join(f"{q} {times.quantiles_s[q]:.3g} s" for q in ("p50", "p80", "p99"))
            rows.append((f"reuse time, {name}", seconds))
        rows.append(("most live blocks", f"{reuse.live_blocks.max():,} of {reuse.blocks:,}"))
        if self.nominal_arrivals:
            rows.append(("follow-ups, at nominal times", f"{self.nominal_arrivals:,}"))
        return rows


def describe(workload: Workload, *, block_tokens: int = 16, window_s: float | None = None) -> Description:
    """Rates, lengths, clients, conversations and cache reuse of a workload.

    block_tokens: of the cache blocks, 16 as in vLLM. window_s: of what is told over time; without it, the
    shortest customary window of which at most 200 cover the workload. Raises WorkloadError for a bad parameter.
    """
    if block_tokens < 1:
        raise WorkloadError(f"describe: block_tokens must be at least 1, got {block_tokens}")
    if window_s is not None and not 0 < window_s < float("inf"):
        raise WorkloadError(f"describe: window_s must be a positive number, got {window_s}")
    arrival_s = nominal_arrival_s(workload)
    ordered_s = np.sort(arrival_s)
    arrivals = describe_arrivals(ordered_s, window_s or suitable_window_s(float(ordered_s[-1] - ordered_s[0])))
    window = ((arrival_s - ordered_s[0]) / arrivals.window_s).astype(np.int64)
    windows = len(arrivals.window_start_s)
    return Description(
        summary=workload.summary(),
        nominal_arrivals=int(np.count_nonzero(workload.parent >= 0)),
        arrivals=arrivals,
        gaps=describe_gaps(ordered_s),
        input=describe_lengths(workload.input_tokens, window, windows),
        output=describe_lengths(workload.output_tokens, window, windows),
        input_output_rank_correlation=_rank_correlation(workload),
        clients=describe_clients(workload.client),
        conversations=describe_conversations(workload.session, arrival_s),
        reuse=describe_reuse(workload, arrival_s, block_tokens, arrivals.window_start_s + arrivals.window_s),
    )


def _rank_correlation(workload: Workload) -> float:
    """Spearman's, with mean ranks for equal lengths; NaN if all are equal."""

    def mean_ranks(tokens: np.ndarray) -> np.ndarray:
        _, inverse, count = np.unique(tokens, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[inverse]

    a, b = mean_ranks(workload.input_tokens), mean_ranks(workload.output_tokens)
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _lengths(lengths: LengthStatistics) -> str:
    quantiles = ", ".join(f"{q} {lengths.quantiles[q]:,.0f}" for q in ("p50", "p90", "p99"))
    return f"mean {lengths.mean:,.0f}, {quantiles}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
