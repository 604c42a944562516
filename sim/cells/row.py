"""A run as one row of numbers: its summary (docs/results.md) flattened."""

from typing import Any

Row = dict[str, int | float | None]

COUNTS = (
    *(
        "requests",
        "rejected",
        "warmup_requests",
        "input_tokens",
        "output_tokens",
        "preemptions",
        "iterations",
        "kv_blocks",
    ),
    *("requests_beyond_context", "operations_not_reached"),
)
RATES = ("start_s", "end_s", "requests_per_s", "output_tokens_per_s", "hit_ratio")
LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "queue_s")
INTEGERS = frozenset((*COUNTS, "evicted_blocks", "assumed_constants", "saturated", "slo_holds"))  # others: floats


def row(summary: dict[str, Any]) -> Row:
    """Names and values, None where the run has none: the same names in the same order for every run.

    ``ttft_s.p99`` of the summary is ``ttft_p99_s`` here. Of the instances there are the mean and the largest busy
    fraction and the sum of the evicted blocks; of the SLO what holds for all classes. Yes is 1 and no is 0.
    """
    slo, saturated = summary["slo"], summary["saturated"]["saturated"]
    busy = [one["busy_fraction"] for one in summary["instances"] if one["busy_fraction"] is not None]
    return {
        **{name: summary[name] for name in COUNTS + RATES},
        **{
            f"{latency.removesuffix('_s')}_{statistic}_s": value
            for latency in LATENCIES
            for statistic, value in summary[latency].items()
        },
        "saturated": None if saturated is None else int(saturated),
        "slo_holds": None if slo is None else int(slo["holds"]),
        "good_share": None if slo is None else slo["good"]["share"],
        "good_requests_per_s": None if slo is None else slo["good_requests_per_s"],
        "gpu_hours": summary["gpu_hours"],
        "busy_fraction_mean": sum(busy) / len(busy) if busy else None,
        "busy_fraction_max": max(busy, default=None),
        "evicted_blocks": sum(one["evicted_blocks"] for one in summary["instances"]),
        "assumed_constants": len(summary["assumptions"]),
    }
