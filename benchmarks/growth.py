"""The growth curve: CPU time against the number of requests."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

BLUE, GREY = "#2a6f97", "#8d99ae"


def draw_growth(results: list[dict[str, Any]], path: Path) -> None:
    """CPU seconds of the growth cases on double-logarithmic axes, beside the line of constant cost a request."""
    requests = [result["requests"] for result in results]
    cpu_s = [result["cpu_s"] for result in results]
    per_request_s = cpu_s[-1] / requests[-1]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.loglog(requests, [n * per_request_s for n in requests], "--", color=GREY, label="proportional to requests")
    axes.loglog(requests, cpu_s, "o-", color=BLUE, label="measured")
    for n, seconds in zip(requests, cpu_s, strict=True):
        axes.annotate(
            f"{seconds / n * 1e6:.1f} µs a request",
            (n, seconds),
            (0, -14) if n == requests[-1] else (10, -10),
            textcoords="offset points",
            ha="right" if n == requests[-1] else "left",
            fontsize=8,
        )
    axes.set(xlabel="requests", ylabel="CPU seconds", title=f"{results[0]['instances']} instances, LMetric")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
