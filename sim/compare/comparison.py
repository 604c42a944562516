"""From policies and seeds to tables with confidence intervals."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import SimError, unknown_name
from ..statistics import CONFIDENCE, Interval, paired_difference, t_interval
from .cells import Cell, Failure, Run, run_cells
from .curves import time_bin_s
from .metrics import METRICS, SLO_METRICS, Metric
from .policies import Policy, check_policies
from .seeds import load_by_seed, what_seeds_vary

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """The outcome: runs in order of policies, then of seeds. The tables' columns are in docs/compare.md."""

    policies: list[Policy]
    baseline: str
    seeds: list[int]
    bin_s: float
    done: list[Run]
    failures: list[Failure]

    @property
    def seeds_vary(self) -> str:
        """What differs from one seed to the next."""
        return what_seeds_vary(self.policies[0].scenario.workload)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Attainment and goodput are among them if a policy has an SLO."""
        return METRICS + (SLO_METRICS if any(policy.scenario.slo for policy in self.policies) else ())

    def runs_of(self, policy: str) -> list[Run]:
        return [run for run in self.done if run.policy == policy]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row per policy and seed: every metric, NaN where a run has none of it."""
        beside = ("requests", "rejected", "requests_beyond_context", "operations_not_reached", "saturated")
        columns = ["policy", "seed", *beside, *(metric.name for metric in self.metrics)]
        return pd.DataFrame([vars(run) | run.metrics for run in self.done], columns=columns)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per metric and policy: mean over the seeds and its confidence interval."""
        return pd.DataFrame(
            [
                {"metric": metric.name, "policy": policy.name} | _columns(t_interval(self._values(policy, metric)))
                for metric in self.metrics
                for policy in self.policies
            ]
        )

    @cached_property
    def differences(self) -> pd.DataFrame:
        """A row per metric and policy but the baseline: policy - baseline, paired by seed, and what it amounts to."""
        baseline = next(policy for policy in self.policies if policy.name == self.baseline)
        rows = []
        for metric in self.metrics:
            for policy in self.policies:
                if policy is baseline:
                    continue
                interval, relative = paired_difference(self._values(policy, metric), self._values(baseline, metric))
                told = {"relative": relative, "sign": interval.sign, "verdict": _verdict(metric, interval)}
                names = {"metric": metric.name, "policy": policy.name, "baseline": baseline.name}
                rows.append(names | _columns(interval) | told)
        columns = ["metric", "policy", "baseline", "seeds", "mean", "low", "high", "relative", "sign", "verdict"]
        return pd.DataFrame(rows, columns=columns)

    def _values(self, policy: Policy, metric: Metric) -> NDArray[np.float64]:
        """One per seed, NaN for a run that failed."""
        known = {run.seed: run.metrics[metric.name] for run in self.runs_of(policy.name)}
        return np.array([known.get(seed, math.nan) for seed in self.seeds])

    def to_json(self) -> str:
        """Everything but the figures (docs/compare.md); the same input gives the same bytes."""
        policies = [
            {
                "policy": policy.name,
                "scenario": policy.scenario.model_dump(mode="json"),
                "assumptions": next((run.assumptions for run in self.runs_of(policy.name)), {}),
            }
            for policy in self.policies
        ]
        whole = {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline,
            "seeds": self.seeds,
            "seeds_vary": self.seeds_vary,
            "confidence": CONFIDENCE,
            "policies": policies,
            "summary": _nulls(self.summary),
            "differences": _nulls(self.differences),
            "runs": _nulls(self.runs),
            "failures": [vars(failure) for failure in self.failures],
        }
        return json.dumps(whole, indent=2, allow_nan=False)


def compare(
    policies: Sequence[Policy],
    seeds: int,
    jobs: int = 1,
    baseline: str | None = None,
    finished: Callable[[], None] = lambda: None,
) -> Comparison:
    """Run every policy with ``seeds`` seeds, from the scenarios' own on, on ``jobs`` processes.

    ``baseline`` is a policy's name, by default the first one's; ``finished`` is called after each run. Raises
    `SimError`, `workloads.WorkloadError` or `hardware_profiles.ProfileError` for what stands in the way of all runs;
    a run that fails by itself is among the failures.
    """
    check_policies(policies)
    names = [policy.name for policy in policies]
    if baseline is not None and baseline not in names:
        raise SimError(unknown_name("baseline", baseline, names))
    first = policies[0].scenario
    numbers = list(range(first.seed, first.seed + seeds))
    requests = load_by_seed(first, numbers)
    bin_s = time_bin_s(requests.values())
    cells = [Cell(policy.name, policy.scenario, seed, requests[seed], bin_s) for policy in policies for seed in numbers]
    outcomes = run_cells(cells, jobs, finished)
    done = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if not done:
        raise SimError(
            f"no run ended well; the first, {failures[0].policy} with seed {numbers[0]}: {failures[0].error}"
        )
    return Comparison(list(policies), baseline or names[0], numbers, bin_s, done, failures)


def _columns(interval: Interval) -> dict[str, float]:
    return {"seeds": interval.seeds, "mean": interval.mean, "low": interval.low, "high": interval.high}


def _verdict(metric: Metric, difference: Interval) -> str:
    if difference.sign == 0:
        return "unclear"
    return "better" if (difference.sign < 0) == metric.lower_is_better else "worse"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _nulls(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, with None in place of NaN, which JSON does not have."""
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in records(table)
    ]
