"""What a run gives: a table of requests, inter-token latencies, a time series per instance, what became of the SLOs, a
summary.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workloads import Workload
from workloads.files import complete_file

from .batch_means import BATCHES, HalfWidth, half_width, half_width_of_rate
from .cluster import Cluster
from .faults import Faults
from .fleet_history import control_table, fleet_summary
from .goodput import by_client, over_time, slo_summary
from .kernel.line import POOL_LINE, host_line
from .kernel.state import NONE, REJECTED
from .metrics import distribution, histogram_distribution, ratio
from .operations import PS_PER_S, STATUSES
from .saturation import saturation
from .scenario import Scenario
from .slo import judge, slo_classes
from .statistics import CONFIDENCE

SCHEMA_VERSION = 2


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
        rejected = req["state"] == REJECTED
        gaps = req["output"] - 1

        def seconds(later: str, earlier: str | None = None) -> np.ndarray:
            """Between two events of each request, or from the start of the run; NaN where one never came."""
            span_ps = req[later] - (0 if earlier is None else req[earlier])
            return np.where(req[later] < 0, np.nan, span_ps / PS_PER_S)

        return pd.DataFrame(
            {
                "request_id": np.arange(len(req)),
                "arrival_s": seconds("arrival"),
                "input_tokens": w.input_tokens,
                "output_tokens": w.output_tokens,
                "client": w.client,
                "category": pd.Categorical.from_codes(w.category, dtype=pd.CategoricalDtype(list(w.category_names))),
                "session": w.session,
                "turn": w.turn,
                "priority": w.priority,
                "instance": req["instance"].astype(np.int32),
                "rejected": rejected,
                "hit_tokens": np.where(rejected, 0, req["hit"]).astype(np.int32),
                "host_hit_tokens": req["host_hit"].astype(np.int32),
                "pool_hit_tokens": req["pool_hit"].astype(np.int32),
                "preemptions": req["preemptions"].astype(np.int32),
                "first_scheduled_s": seconds("first_scheduled"),
                "first_token_s": seconds("first_token"),
                "finish_s": seconds("finish"),
                "queue_s": seconds("first_scheduled", "arrival"),
                "ttft_s": seconds("first_token", "arrival") + self.front_end_s,
                "tpot_s": np.divide(
                    seconds("finish", "first_token"), gaps, out=np.full(len(req), np.nan), where=gaps > 0
                ),
                "e2e_s": seconds("finish", "arrival") + self.front_end_s,
                "measured": (req["arrival"] >= self.cluster.state.cluster["warm_up"][0]) | (req["arrival"] == NONE),
            }
        )

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The requests that did not arrive in the warm-up, in order of arrival."""
        table = self.requests
        return table[table["measured"]].sort_values(["arrival_s", "request_id"])

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The measured requests that have an SLO, and which targets they meet; see `sim.slo.judge`."""
        classes = slo_classes(self.scenario.slo, self.workload)
        return judge(self.scenario.slo, classes[self.measured.index], self.measured)

    @cached_property
    def slo_by_client(self) -> pd.DataFrame:
        """Attainment per client and class."""
        return by_client(self.scenario.slo, self.judged)

    @cached_property
    def slo_over_time(self) -> pd.DataFrame:
        """Attainment and goodput per class and ``series_interval_s`` of arrivals; no rows where that is None."""
        window_s = self.scenario.series_interval_s
        return over_time(self.scenario.slo, self.judged if window_s else self.judged[:0], window_s or 1.0)

    @cached_property
    def itl(self) -> pd.DataFrame:
        """Inter-token latencies: exact counts in 1 % wide bins ``[low_s, high_s)``; empty bins are left out."""
        edges_s, counts = self.itl_edges_s, self.itl_counts.sum(axis=0)
        table = pd.DataFrame({"low_s": edges_s[:-1], "high_s": edges_s[1:], "count": counts})
        return table[table["count"] > 0].reset_index(drop=True)

    @property
    def itl_edges_s(self) -> np.ndarray:
        """Of the bins of the inter-token latencies."""
        return self.cluster.state.itl_edges_ps / PS_PER_S

    @property
    def itl_counts(self) -> np.ndarray:
        """A row a class of the SLO, and one for requests without a class; those of the warm-up are left out."""
        counts = self.cluster.state.itl_counts
        measured = counts[:-1] if self.scenario.warmup_s > 0 else counts
        return np.pad(measured, ((0, len(self.scenario.slo) + 1 - len(measured)), (0, 0)))

    @property
    def _span_s(self) -> tuple[float, float]:
        """First arrival and last finish of the measured requests; the same if none of them is served."""
        start_s, end_s = float(self.measured["arrival_s"].min()), float(self.measured["finish_s"].max())
        return start_s, start_s if np.isnan(end_s) else end_s

    @cached_property
    def series(self) -> pd.DataFrame:
        """Every instance at every sample time; hit ratio, busy share, iterations, tokens of the interval before."""
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
                "kv_used_fraction": (samples.blocks_used / self.cluster.state.inst["usable"]).ravel(),
                "hit_ratio": hits.ravel(),
                "busy_fraction": (since_last(samples.busy_ps) / interval_ps[:, None]).ravel(),
                "prefill_only_iterations": since_last(samples.prefill_only).ravel(),
                "mixed_iterations": since_last(samples.mixed).ravel(),
                "decode_only_iterations": since_last(samples.decode_only).ravel(),
                "prefill_tokens": since_last(samples.prefill_tokens).ravel(),
                "decode_tokens": since_last(samples.decode_tokens).ravel(),
            }
        )

    @cached_property
    def control(self) -> pd.DataFrame:
        """What happened to the instances: a row per event, in order of time (docs/results.md)."""
        return control_table(self.cluster.log)

    @property
    def _end_ps(self) -> int:
        """The last finish, or the last arrival if that was refused."""
        req = self.cluster.state.req
        return int(max(req["finish"].max(), req["arrival"].max()))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run in numbers (docs/results.md); the same scenario and seed give the same bytes."""
        table, state = self.measured, self.cluster.state
        served = table[~table["rejected"]]
        start_s, end_s = self._span_s
        duration_s = end_s - start_s
        inputs, outputs = int(served["input_tokens"].sum()), int(served["output_tokens"].sum())
        widths = self._half_widths(served)
        blocks = {group.engine.num_blocks for group in self.cluster.groups}
        return {
            "schema_version": SCHEMA_VERSION,
            "scenario": self.scenario.model_dump(mode="json"),
            "given_in_python": self.given,
            "requests": len(table),
            "rejected": len(table) - len(served),
            "warmup_requests": len(self.requests) - len(table),
            "input_tokens": inputs,
            "output_tokens": outputs,
            "start_s": start_s,
            "end_s": end_s,
            "requests_per_s": ratio(len(served), duration_s),
            "requests_per_s_ci95": widths["requests_per_s"].value,
            "output_tokens_per_s": ratio(outputs, duration_s),
            "output_tokens_per_s_ci95": widths["output_tokens_per_s"].value,
            "hit_ratio": ratio(int(table["hit_tokens"].sum()), inputs),
            "host_cache": self._tier_summary("host", state.line[host_line(0) :: host_line(1) - host_line(0)], inputs),
            "kv_pool": self._tier_summary("pool", state.line[POOL_LINE : POOL_LINE + 1], inputs),
            "preemptions": int(state.req["preemptions"].sum()),
            "router_tallies": self.cluster.router_tallies,
            "iterations": int(sum(state.inst[kind].sum() for kind in ("prefill_only", "mixed", "decode_only"))),
            "ttft_s": self._latency("ttft_s", widths),
            "tpot_s": self._latency("tpot_s", widths),
            "itl_s": histogram_distribution(self.itl_edges_s, self.itl_counts.sum(axis=0)),
            "e2e_s": self._latency("e2e_s", widths),
            "queue_s": self._latency("queue_s", widths),
            "confidence": {
                "level": CONFIDENCE,
                "batches": BATCHES,
                "absent": {name: width.absent for name, width in widths.items() if width.absent},
            },
            "saturated": self._saturated(),
            "slo": self._slo(duration_s) if self.scenario.slo else None,
            "kv_blocks": blocks.pop() if len(blocks) == 1 else None,
            "groups": [self._group_summary(at) for at in range(len(self.cluster.groups))],
            "instances": [self._instance_summary(i, duration_s) for i in range(len(state.inst))],
            **fleet_summary(self.cluster.log, self._end_ps, self.cluster.gpus),
            "faults": None if self.faults is None else self.faults.summary(self._end_ps),
            "requests_beyond_context": self.beyond_context,
            "operations_not_reached": len(self.scenario.operations) - self.cluster.operations_done,
            "assumptions": self.assumptions,
        }

    def _latency(self, name: str, widths: dict[str, HalfWidth]) -> dict[str, float | None]:
        told = distribution(self.measured[name].to_numpy())
        return {"mean": told.pop("mean"), "ci95": widths[name].value, **told}

    def _half_widths(self, served: pd.DataFrame) -> dict[str, HalfWidth]:
        """Of the means in the summary: latencies over batches of arrivals, rates over equal shares of the time."""
        widths = {
            name: half_width(served[name].dropna().to_numpy()) for name in ("ttft_s", "tpot_s", "e2e_s", "queue_s")
        }
        finish_s, tokens = served["finish_s"].to_numpy(), served["output_tokens"].to_numpy()
        widths["requests_per_s"] = half_width_of_rate(finish_s, np.ones_like(tokens), self._span_s)
        widths["output_tokens_per_s"] = half_width_of_rate(finish_s, tokens, self._span_s)
        return widths

    def _saturated(self) -> dict[str, Any]:
        arrival_s, scheduled_s, finish_s = (
            self.requests[name].to_numpy() for name in ("arrival_s", "first_scheduled_s", "finish_s")
        )
        return asdict(saturation(arrival_s, scheduled_s, finish_s, self.workload.parent < 0))

    def _slo(self, duration_s: float) -> dict[str, Any]:
        edges_s, counts = self.itl_edges_s, self.itl_counts
        told = slo_summary(self.scenario.slo, self.judged, edges_s, counts, duration_s)
        return told | {"requests_without_slo": len(self.measured) - len(self.judged)}

    def _group_summary(self, at: int) -> dict[str, Any]:
        group, mine = self.scenario.groups()[at], self.cluster.state.inst["group"] == at
        served = (self.cluster.group_of_requests == at) & self.requests["measured"].to_numpy()
        inst = self.cluster.state.inst[mine]
        return {
            "name": group.name,
            "gpu": group.gpu,
            "model": group.model,
            "gpus_per_instance": group.tp * group.pp,
            "instances": int(mine.sum()),
            "kv_blocks": self.cluster.groups[at].engine.num_blocks,
            "requests": int(inst["finished"].sum()),
            "output_tokens": int(inst["tokens"].sum()),
            "hit_ratio": ratio(int(inst["hit_tokens"].sum()), int(inst["prompt_tokens"].sum())),
            "ttft_s": distribution(self.requests["ttft_s"].to_numpy()[served]),
            "tpot_s": distribution(self.requests["tpot_s"].to_numpy()[served]),
        }

    def _tier_summary(self, tier: str, lines: np.ndarray, input_tokens: int) -> dict[str, Any] | None:
        """A tier below the GPUs; None if there is none. ``lines`` are the records of its parts, an instance each."""
        if not lines["capacity"].any():
            return None
        hit_tokens = int(self.measured[f"{tier}_hit_tokens"].sum())
        capacities = set(lines["capacity"].tolist())
        return {
            "blocks": capacities.pop() if len(capacities) == 1 else None,
            "hit_tokens": hit_tokens,
            "hit_ratio": ratio(hit_tokens, input_tokens),
            "written_blocks": int(lines["written"].sum()),
            "loaded_blocks": int(lines["loaded"].sum()),
        }

    def _instance_summary(self, i: int, duration_s: float) -> dict[str, Any]:
        inst = self.cluster.state.inst[i]
        return {
            "instance": i,
            "group": self.cluster.groups[inst["group"]].name,
            "requests": int(inst["finished"]),
            "output_tokens": int(inst["tokens"]),
            "prefill_only_iterations": int(inst["prefill_only"]),
            "mixed_iterations": int(inst["mixed"]),
            "decode_only_iterations": int(inst["decode_only"]),
            "prefill_tokens": int(inst["prefill_tokens"]),
            "decode_tokens": int(inst["decode_tokens"]),
            "hit_ratio": ratio(int(inst["hit_tokens"]), int(inst["prompt_tokens"])),
            "busy_fraction": ratio(int(inst["busy_ps"]) / PS_PER_S, duration_s),
            "preemptions": int(inst["preemptions"]),
            "evicted_blocks": int(inst["evicted"]),
        }

    def write(self, folder: str | Path) -> None:
        """Write requests, itl, series and control.parquet and summary.json, with an SLO also slo_by_client and
        slo_over_time.parquet; each appears complete or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"requests": self.requests, "itl": self.itl, "series": self.series, "control": self.control}
        if self.scenario.slo:
            tables |= {"slo_by_client": self.slo_by_client, "slo_over_time": self.slo_over_time}
        for name, table in tables.items():
            with complete_file(folder / f"{name}.parquet") as path:
                table.to_parquet(path, index=False)
        with complete_file(folder / "summary.json") as path:
            path.write_text(json.dumps(self.summary, indent=2) + "\n", encoding="utf-8")
