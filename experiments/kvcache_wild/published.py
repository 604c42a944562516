"""What "KVCache Cache in the Wild" (arXiv 2506.02634, ATC'25) reports."""

from typing import NamedTuple


class Characterization(NamedTuple):
    """Shares of one, but for the seconds. Turns are counted from 1."""

    ideal_hit_ratio: float
    within_s: float  # 80 % of the reuses come by then
    dead_after_s: float  # 90 % of the blocks live no longer
    next_turn: tuple[float, float] | None  # probability that another turn follows: after turn 1, after later ones


CONSUMER = Characterization(0.62, 600.0, 612.0, (0.5, 0.8))  # trace A
BUSINESS = Characterization(0.54, 10.0, 0.3, None)  # trace B

# Blocks on the GPU -> hit ratio of (workload-aware, LRU): trace A, Qwen2.5-7B on an A800, 6 requests/s.
HIT_RATIOS = {
    1024: (0.138, 0.118),
    3072: (0.175, 0.141),
    5120: (0.205, 0.179),
    8192: (0.256, 0.250),
}
# Points of hit ratio that workload-aware gains, over traces, models and capacities.
OVER_BEST_POINTS = (1.5, 3.9)  # over the best of the other policies
OVER_OTHERS_POINTS = (8.1, 23.9)  # over the rest of them
QUEUEING_PERCENT = (-42.0, -28.0)  # change of the queueing TTFT, lowest to highest
