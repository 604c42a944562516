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
        below = seconds < n * per_request_s  # away from the line
        axes.annotate(
            f"{seconds / n * 1e6:.1f} µs",
            (n, seconds),
            (8, -10) if below else (-8, 6),
            textcoords="offset points",
            ha="left" if below else "right",
            fontsize=9,
        )
    axes.margins(x=0.13)  # room for the first label
    axes.set(
        xlabel="requests", ylabel="CPU seconds", title=f"{results[0]['instances']} instances, LMetric; µs a request"
    )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
