"""Plans, and what becomes of them on held-out traffic."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from sim.cells import Failed
from sim.cells.backends import open_pool
from sim.errors import SimError
from sim.planning import CostModel, Evaluator, Loads, plan_fleet
from sim.planning.evaluate import Trial
from sim.planning.verdict import Verdict
from sim.scenario import InstanceGroup, Scenario
from workloads import Workload
from workloads.characterize import compare

from .sources import PLANNED_WITH, Setting, composed, held_out

GPU, MODEL, ATTAINMENT = "H20", "qwen2.5-14b", 0.99
WARMUP_S = 60.0
MOST_INSTANCES = 128
HELD = "held out"

# Illustrative; longer prompts may take longer.
SLOS: dict[str, dict[str, float]] = {
    "tight": {"ttft_s": 2.0, "ttft_s_per_1k_input_tokens": 0.5, "tpot_s": 0.1, "attainment": ATTAINMENT},
    "loose": {"ttft_s": 5.0, "ttft_s_per_1k_input_tokens": 1.0, "tpot_s": 0.2, "attainment": ATTAINMENT},
}


@dataclass(frozen=True)
class Task:
    """One realisation of everything: what is planned with comes of ``seed``, the held-out traffic of another."""

    setting: Setting
    seed: int
    duration_s: float


def run(task: Task) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """A row for each SLO and kind of workload planned with, and `compare` of the workloads, held-out traffic too.

    Of a row: `planned` and `needed` instances, the latter by a plan with the held-out traffic itself; `attained`, the
    share of the tightest metric, and `holds` when that traffic meets the planned fleet.
    """
    source = composed(task.setting, task.seed, task.duration_s)
    workloads = {kind: make(source, task.seed, task.duration_s) for kind, make in PLANNED_WITH.items()}
    workloads[HELD] = held_out(task.setting, task.seed, task.duration_s)
    rows = []
    for slo, targets in SLOS.items():
        with TemporaryDirectory() as folder, open_pool("inline", 1) as pool:
            planners = {
                kind: Planner(workload, Path(folder) / f"{kind}.parquet", targets, pool)
                for kind, workload in workloads.items()
            }
            needed = planners[HELD].least()
            for kind in PLANNED_WITH:
                planned = planners[kind].least()
                met = planners[HELD].verdict(planned)
                about = {"setting": task.setting.name, "slo": slo, "planned_with": kind, "seed": task.seed}
                share = {"attained": met.attainment.mean, "holds": met.holds}
                rows.append(about | {"planned": planned, "needed": needed} | share)
    return rows, _measures(workloads)


class Planner:
    """`servesim plan --trace` with one workload, which it writes to ``path``."""

    def __init__(self, workload: Workload, path: Path, targets: dict[str, float], pool: Any) -> None:
        workload.to_parquet(path)
        fields = {
            "workload": {"trace": str(path), "format": "parquet"},
            "model": MODEL,
            "gpu": GPU,
            "warmup_s": WARMUP_S,
            "slo": [targets],
        }
        loads = Loads(Scenario.model_validate(fields), len(workload))
        self.evaluator = Evaluator(loads, 1, pool, lambda: None)
        self.rate_per_s = loads.own_rate_per_s or 0.0

    def least(self) -> int:
        """The instances it plans."""
        costs = CostModel.make([GPU], {}, None)
        plan = plan_fleet(self.evaluator, costs, self.rate_per_s, [(GPU, 1)], [], MOST_INSTANCES)
        return plan.answers[0].tried.trial.groups[0].instances

    def verdict(self, instances: int) -> Verdict:
        """How a fleet of so many meets the workload."""
        scenario = self.evaluator.loads.scenario
        group = InstanceGroup(name=GPU, gpu=GPU, tp=1, instances=instances).beside(scenario)
        (told,) = self.evaluator.verdicts([(Trial((group,), self.rate_per_s), 1)])
        if isinstance(told, Failed):
            raise SimError(told.error)
        return told


def _measures(workloads: dict[str, Workload]) -> pd.DataFrame:
    means = {
        name: {"input mean, tokens": one.input_tokens.mean(), "output mean, tokens": one.output_tokens.mean()}
        for name, one in workloads.items()
    }
    return pd.concat([compare(workloads), pd.DataFrame(means)])[[*PLANNED_WITH, HELD]]
