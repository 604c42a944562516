"""What policies are compared in. Every metric is one number of a run's summary (docs/results.md)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """``path`` leads to it in the summary; tables and figures show it times ``scale``, under ``label``."""

    name: str
    label: str
    path: tuple[str, ...]
    scale: float = 1.0
    lower_is_better: bool = True

    def of(self, summary: dict[str, Any]) -> float:
        """Its value in a run's summary, NaN where the run has none."""
        value: Any = summary
        for key in self.path:
            value = None if value is None else value[key]
        return float("nan") if value is None else float(value)


METRICS = (
    Metric("ttft_mean_s", "TTFT mean, s", ("ttft_s", "mean")),
    Metric("ttft_p50_s", "TTFT p50, s", ("ttft_s", "p50")),
    Metric("ttft_p90_s", "TTFT p90, s", ("ttft_s", "p90")),
    Metric("ttft_p99_s", "TTFT p99, s", ("ttft_s", "p99")),
    Metric("tpot_mean_s", "TPOT mean, ms", ("tpot_s", "mean"), scale=1e3),
    Metric("tpot_p99_s", "TPOT p99, ms", ("tpot_s", "p99"), scale=1e3),
    Metric("e2e_mean_s", "E2E mean, s", ("e2e_s", "mean")),
    Metric("hit_ratio", "hit ratio, %", ("hit_ratio",), scale=100.0, lower_is_better=False),
    Metric("output_tokens_per_s", "output tokens/s", ("output_tokens_per_s",), lower_is_better=False),
)
SLO_METRICS = (
    Metric("good_share", "good requests, %", ("slo", "good", "share"), scale=100.0, lower_is_better=False),
    Metric("good_requests_per_s", "goodput, requests/s", ("slo", "good_requests_per_s"), lower_is_better=False),
)
