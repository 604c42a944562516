"""Write the table and the plot of README.md: `python -m experiments.naive_vs_composed [OUT]`."""

import sys
from pathlib import Path

from workloads.characterize import compare, comparison_table, plot_comparison
from workloads.compose import generate
from workloads.naive import burstgpt_like, naive
from workloads.pools import load_pool

POOL = "m-large"
START_S, DURATION_S = 20 * 3600.0, 4 * 3600.0  # the evening of the first day
SCALE = 0.2  # of the pool's rates, so that it takes seconds
SEED = 0


def main(out: Path) -> None:
    """Table and plot in the folder `out`."""
    composed = generate(load_pool(POOL), seed=SEED, start_s=START_S, duration_s=DURATION_S, scale=SCALE)
    rate_per_s = len(composed) / DURATION_S
    workloads = {"composed": composed}
    for process in ("poisson", "gamma", "weibull"):
        workloads[process] = naive(composed, process, SEED)
    workloads["burstgpt-like"] = burstgpt_like(rate_per_s, DURATION_S, SEED)
    out.mkdir(parents=True, exist_ok=True)
    table = comparison_table(compare(workloads))
    (out / "table.md").write_text(table)
    plot_comparison(workloads, out / "comparison.png", bin_s=10)
    print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/naive_vs_composed"))
