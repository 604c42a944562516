"""What policies are compared in. Every metric is one number of a run's row (`sim.cells.row`)."""

from dataclasses import dataclass

from ..cells.row import Row


@dataclass(frozen=True)
class Metric:
    """``name`` is its column in a run's row; tables and figures show it times ``scale``, under ``label``."""

    name: str
    label: str
    scale: float = 1.0
    lower_is_better: bool = True

    def of(self, numbers: Row) -> float:
        """Its value in a run's row, NaN where the run has none."""
        value = numbers[self.name]
        return float("nan") if value is None else float(value)


METRICS = (
    Metric("ttft_mean_s", "TTFT mean, s"),
    Metric("ttft_p50_s", "TTFT p50, s"),
    Metric("ttft_p90_s", "TTFT p90, s"),
    Metric("ttft_p99_s", "TTFT p99, s"),
    Metric("tpot_mean_s", "TPOT mean, ms", scale=1e3),
    Metric("tpot_p99_s", "TPOT p99, ms", scale=1e3),
    Metric("e2e_mean_s", "E2E mean, s"),
    Metric("hit_ratio", "hit ratio, %", scale=100.0, lower_is_better=False),
    Metric("output_tokens_per_s", "output tokens/s", lower_is_better=False),
)
SLO_METRICS = (
    Metric("good_share", "good requests, %", scale=100.0, lower_is_better=False),
    Metric("good_requests_per_s", "goodput, requests/s", lower_is_better=False),
)
