"""What a run gives: a table of requests, inter-token latencies, a time series per instance, a summary."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workloads import Workload
from workloads.files import complete_file

from .cluster import Cluster
from .faults import Faults
from .fleet_history import control_table, fleet_summary
from .metrics import distribution, histogram_distribution, ratio
from .operations import PS_PER_S, STATUSES
from .scenario import Scenario

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Result:
    """The outcome of one run.

    ``assumptions`` names the constants behind it that nobody measured, ``given`` what did not come from the scenario
    but from the caller, ``beyond_context`` the requests longer than the model's context.
    """

    scenario: Scenario
    workload: Workload
    cluster: Cluster
    front_end_s: np.ndarray  # float64, one a request
    faults: Faults | None
    assumptions: dict[str, str]
    given: dict[str, str]
    beyond_context: int

    @cached_property
    def requests(self) -> pd.DataFrame:
        """A row per request, by id (docs/results.md)."""
        req, w = self.cluster.state.req, self.workload
        arrival_s, scheduled_s = req["arrival"] / PS_PER_S, req["first_scheduled"] / PS_PER_S
        first_token_s, finish_s = req["first_token"] / PS_PER_S, req["finish"] / PS_PER_S
        gaps = req["output"] - 1
        decode_s = (req["finish"] - req["first_token"]) / PS_PER_S
        return pd.DataFrame(
            {
                "request_id": np.arange(len(req)),
                "arrival_s": arrival_s,
                "input_tokens": w.input_tokens,
                "output_tokens": w.output_tokens,
                "client": w.client,
                "category": pd.Categorical.from_codes(w.category, dtype=pd.CategoricalDtype(list(w.category_names))),
                "session": w.session,
                "turn": w.turn,
                "priority": w.priority,
                "instance": req["instance"].astype(np.int32),
                "hit_tokens": req["hit"].astype(np.int32),
                "preemptions": req["preemptions"].astype(np.int32),
                "first_scheduled_s": scheduled_s,
                "first_token_s": first_token_s,
                "finish_s": finish_s,
                "queue_s": (req["first_scheduled"] - req["arrival"]) / PS_PER_S,
                "ttft_s": (req["first_token"] - req["arrival"]) / PS_PER_S + self.front_end_s,
                "tpot_s": np.divide(decode_s, gaps, out=np.full(len(req), np.nan), where=gaps > 0),
                "e2e_s": (req["finish"] - req["arrival"]) / PS_PER_S + self.front_end_s,
            }
        )

    @cached_property
    def itl(self) -> pd.DataFrame:
        """Inter-token latencies: exact counts in 1 % wide bins ``[low_s, high_s)``; empty bins are left out."""
        edges_s, counts = self._itl_edges_s, self.cluster.state.itl_counts
        table = pd.DataFrame({"low_s": edges_s[:-1], "high_s": edges_s[1:], "count": counts})
        return table[table["count"] > 0].reset_index(drop=True)

    @property
    def _itl_edges_s(self) -> np.ndarray:
        return self.cluster.state.itl_edges_ps / PS_PER_S

    @cached_property
    def series(self) -> pd.DataFrame:
        """Every instance at every sample time; hit ratio and busy share are of the interval before it."""
        samples = self.cluster.samples()
        times, instances = samples.running.shape
        interval_ps = np.diff(samples.time_ps, prepend=0)

        def since_last(counter: np.ndarray) -> np.ndarray:
            return np.diff(counter, axis=0, prepend=np.zeros((min(times, 1), instances), np.int64))

        prompts = since_last(samples.prompt_tokens)
        hits = np.divide(since_last(samples.hit_tokens), prompts, out=np.full(prompts.shape, np.nan), where=prompts > 0)
        return pd.DataFrame(
            {
                "time_s": np.repeat(samples.time_ps / PS_PER_S, instances),
                "instance": np.tile(np.arange(instances, dtype=np.int32), times),
                "running": samples.running.ravel(),
                "waiting": samples.waiting.ravel(),
                "status": pd.Categorical.from_codes(samples.status.ravel(), dtype=pd.CategoricalDtype(list(STATUSES))),
                "kv_used_fraction": samples.blocks_used.ravel() / self.cluster.engine.usable_blocks,
                "hit_ratio": hits.ravel(),
                "busy_fraction": (since_last(samples.busy_ps) / interval_ps[:, None]).ravel(),
            }
        )

    @cached_property
    def control(self) -> pd.DataFrame:
        """What happened to the instances: a row per event, in order of time (docs/results.md)."""
        return control_table(self.cluster.log)

    @property
    def _end_ps(self) -> int:
        return int(self.cluster.state.req["finish"].max())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run in numbers (docs/results.md); the same scenario and seed give the same bytes."""
        table, state = self.requests, self.cluster.state
        start_s, end_s = float(table["arrival_s"].min()), float(table["finish_s"].max())
        duration_s = end_s - start_s
        inputs, outputs = int(state.req["input"].sum()), int(state.req["output"].sum())
        return {
            "schema_version": SCHEMA_VERSION,
            "scenario": self.scenario.model_dump(mode="json"),
            "given_in_python": self.given,
            "requests": len(table),
            "input_tokens": inputs,
            "output_tokens": outputs,
            "start_s": start_s,
            "end_s": end_s,
            "requests_per_s": ratio(len(table), duration_s),
            "output_tokens_per_s": ratio(outputs, duration_s),
            "hit_ratio": ratio(int(table["hit_tokens"].sum()), inputs),
            "preemptions": int(table["preemptions"].sum()),
            "router_tallies": self.cluster.router_tallies,
            "iterations": int((state.inst["iteration"] + state.inst["prefill_steps"]).sum()),
            "ttft_s": distribution(table["ttft_s"].to_numpy()),
            "tpot_s": distribution(table["tpot_s"].to_numpy()),
            "itl_s": histogram_distribution(self._itl_edges_s, state.itl_counts),
            "e2e_s": distribution(table["e2e_s"].to_numpy()),
            "queue_s": distribution(table["queue_s"].to_numpy()),
            "kv_blocks": self.cluster.engine.num_blocks,
            "instances": [self._instance_summary(i, duration_s) for i in range(len(state.inst))],
            **fleet_summary(self.cluster.log, len(state.inst), self._end_ps, self.scenario.tp * self.scenario.pp),
            "faults": None if self.faults is None else self.faults.summary(self._end_ps),
            "requests_beyond_context": self.beyond_context,
            "operations_not_reached": len(self.scenario.operations) - self.cluster.operations_done,
            "assumptions": self.assumptions,
        }

    def _instance_summary(self, i: int, duration_s: float) -> dict[str, Any]:
        inst = self.cluster.state.inst[i]
        return {
            "instance": i,
            "requests": int(inst["finished"]),
            "output_tokens": int(inst["tokens"]),
            "hit_ratio": ratio(int(inst["hit_tokens"]), int(inst["prompt_tokens"])),
            "busy_fraction": ratio(int(inst["busy_ps"]) / PS_PER_S, duration_s),
            "preemptions": int(inst["preemptions"]),
            "evicted_blocks": int(inst["evicted"]),
        }

    def write(self, folder: str | Path) -> None:
        """Write requests, itl, series and control.parquet and summary.json; each appears complete or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("requests", "itl", "series", "control"):
            table: pd.DataFrame = getattr(self, name)
            with complete_file(folder / f"{name}.parquet") as path:
                table.to_parquet(path, index=False)
        with complete_file(folder / "summary.json") as path:
            path.write_text(json.dumps(self.summary, indent=2) + "\n", encoding="utf-8")
