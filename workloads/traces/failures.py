"""What to do with requests that a trace records without an answer."""

import numpy as np
from numpy.typing import NDArray

from workloads.errors import TraceError, did_you_mean
from workloads.traces.table import Table

FAILURE_CHOICES = ("refuse", "skip")


def answered(table: Table, failed: str) -> NDArray[np.bool_]:
    """Which rows have output tokens, once the option `failed` says that the others may be skipped."""
    if failed not in FAILURE_CHOICES:
        raise TraceError(f"failed: unknown choice '{failed}'; {did_you_mean(failed, FAILURE_CHOICES)}")
    output_tokens = table.integers("output_tokens")
    without = output_tokens == 0
    if without.any() and failed == "refuse":
        problem = f"0, as in {without.sum()} rows: requests that failed; option failed='skip' leaves them out"
        raise table.error(int(without.argmax()), "output_tokens", problem)
    return ~without
