"""What a reader of a comparison's numbers must know beside them."""

from ..statistics import CONFIDENCE
from .comparison import Comparison


def notes(comparison: Comparison) -> list[str]:
    """One sentence or two each."""
    runs, first, last = comparison.runs, comparison.seeds[0], comparison.seeds[-1]
    seeds = f"seeds {first} to {last}" if last > first else f"seed {first}"
    fewest, most = runs["requests"].min(), runs["requests"].max()
    requests = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    told = [f"{requests} requests a run, {seeds}: {comparison.seeds_vary}."]
    if last > first:
        told.append(
            f"Intervals are Student's at {CONFIDENCE:.0%} over the seeds. Differences are to {comparison.baseline}, "
            "paired by seed, as every policy serves the same requests; they are unclear where the interval holds zero."
        )
    else:
        told.append("One seed tells nothing of the spread; give more --seeds for intervals.")
    for policy in comparison.policies:
        of_it = comparison.runs_of(policy.name)
        lost = len(comparison.seeds) - len(of_it)
        if lost:
            told.append(f"{policy.name}: {lost} of {len(comparison.seeds)} runs failed and are not in its numbers.")
        saturated = sum(run.saturated for run in of_it)
        if saturated:
            told.append(
                f"{policy.name}: {saturated} of {len(of_it)} runs are saturated: their queue only grows while requests "
                "come, and their latencies grow with the length of the run."
            )
        refused = sum(run.rejected for run in of_it)
        if refused:
            told.append(f"{policy.name}: {refused:,} requests were refused in all; its latencies are of the others.")
        if any(run.operations_not_reached for run in of_it):
            told.append(f"{policy.name}: some operations came after the last request had finished, and did not happen.")
    if runs["requests_beyond_context"].any():
        told.append("Some requests are longer than the model's context; they are simulated as if the model took them.")
    assumed = {constant for run in comparison.done for constant in run.assumptions}
    if assumed:
        told.append(
            f"{len(assumed)} constants behind the step times are assumptions, not measurements; "
            "comparison.json lists them."
        )
    return told
