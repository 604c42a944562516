"""The autoscaler as a SimPy process: at every tick it looks, asks its policy, and adds or drains instances."""

import math
import operator
from collections import deque
from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from ..cluster import Cluster
from ..errors import SimError, unknown_name
from ..operations import DRAINING, PS_PER_S, READY, STARTING
from ..samples import look
from ..scenario import AutoscalerOptions
from .registry import find_autoscaler
from .view import FleetView, PythonAutoscaler
from .watch import RequestWatch


class Scaler:
    """Keeps a group of ``cluster`` at the size that a policy wants, within the limits of ``options``.

    ``policy`` stands in for the options' own; ``front_end_s`` is as in `RequestWatch`. Raises `SimError` for options
    that make no sense.
    """

    def __init__(
        self,
        cluster: Cluster,
        options: AutoscalerOptions,
        front_end_s: np.ndarray,
        policy: PythonAutoscaler | None = None,
    ) -> None:
        self._group = _find_group(cluster, options)
        instances = cluster.groups[self._group].instances
        if not options.min_instances <= instances <= options.max_instances:
            raise SimError(
                f"instances: {instances} is not within autoscaler.min_instances {options.min_instances} and "
                f"max_instances {options.max_instances}; start with a number that the autoscaler may keep"
            )
        self._cluster = cluster
        self._options = options
        self._policy = policy or self._find_policy()
        self._name = options.policy if policy is None else getattr(policy, "__name__", type(policy).__name__)
        self._watch = RequestWatch(options.window_s, front_end_s)
        self._wanted: deque[tuple[float, int]] = deque()  # of the last scale_in_cooldown_s: time, instances
        self._added_s = -math.inf
        self._seen_busy_ps = np.zeros(len(cluster.status), np.int64)
        cluster.env.process(self._run())

    def _find_policy(self) -> PythonAutoscaler:
        options = self._options
        policy = find_autoscaler(options.policy, options.options)
        if policy.needs_targets and options.ttft_s is None and options.tpot_s is None:
            raise SimError(f"autoscaler.ttft_s: policy {options.policy!r} needs a target; give ttft_s, tpot_s or both")
        return policy.desired

    def _run(self) -> Generator[simpy.Event, Any, None]:
        while True:
            yield self._cluster.env.timeout(round(self._options.interval_s * PS_PER_S))
            self._cluster.stop_drained()
            self._scale(self._view())

    def _with_status(self, status: str) -> list[int]:
        """Its instances that have this status."""
        group = self._cluster.state.inst["group"]
        return [i for i in self._cluster.with_status(status) if group[i] == self._group]

    # --- looking ------------------------------------------------------------------------------------------------------

    def _view(self) -> FleetView:
        cluster, options = self._cluster, self._options
        now_ps = int(cluster.env.now)
        self._watch.update(cluster.state, now_ps)
        seen = look(cluster.state, now_ps)
        busy_ps = seen.busy_ps - np.pad(self._seen_busy_ps, (0, len(seen.busy_ps) - len(self._seen_busy_ps)))
        self._seen_busy_ps = seen.busy_ps
        ready = self._with_status(READY)
        held = self._watch.held_requests(cluster.state)
        latencies = self._latencies(now_ps)

        def mean(of_instances: np.ndarray, beside: float = 0.0) -> float:
            return (float(of_instances[ready].sum()) + beside) / max(1, len(ready))

        return FleetView(
            time_s=now_ps / PS_PER_S,
            ready=len(ready),
            starting=len(self._with_status(STARTING)),
            draining=len(self._with_status(DRAINING)),
            cold_start_s=options.cold_start_s,
            interval_s=options.interval_s,
            window_s=options.window_s,
            waiting_per_instance=mean(seen.waiting, held),
            running_per_instance=mean(seen.running),
            busy_fraction=mean(busy_ps) / PS_PER_S / options.interval_s,
            kv_used_fraction=mean(seen.blocks_used / cluster.state.inst["usable"]),
            arrivals_per_s=self._watch.arrivals_per_s(now_ps / PS_PER_S),
            attainment=min((float((over <= 1).mean()) for over in latencies), default=math.nan),
            pressure=max((float(np.quantile(over, options.attainment)) for over in latencies), default=math.nan),
        )

    def _latencies(self, now_ps: int) -> list[np.ndarray]:
        """Recent latencies over their targets, those that have a target and a value."""
        options, over = self._options, []
        if options.ttft_s is not None:
            over.append(self._watch.ttft_s(self._cluster.state, now_ps, options.ttft_s) / options.ttft_s)
        if options.tpot_s is not None:
            over.append(self._watch.tpot_s() / options.tpot_s)
        return [values for values in over if len(values)]

    # --- acting -------------------------------------------------------------------------------------------------------

    def _scale(self, view: FleetView) -> None:
        options = self._options
        answer = self._policy(view)
        try:
            wanted = operator.index(answer)
        except TypeError:
            raise SimError(
                f"the autoscaler {self._name} wants {answer!r} instances at {view.time_s:g} s; return an integer"
            ) from None
        wanted = min(max(wanted, options.min_instances), options.max_instances)
        while self._wanted and self._wanted[0][0] <= view.time_s - options.scale_in_cooldown_s:
            self._wanted.popleft()
        self._wanted.append((view.time_s, wanted))
        reason = f"{self._name}: {wanted} wanted"
        most = max(instances for _, instances in self._wanted)
        if wanted > view.coming and view.time_s - self._added_s >= options.scale_out_cooldown_s:
            self._added_s = view.time_s
            self._grow(wanted - view.coming, reason)
        elif most < view.coming and view.time_s >= options.scale_in_cooldown_s:
            self._shrink(view.coming - most, reason)

    def _grow(self, count: int, reason: str) -> None:
        """Take draining instances back, the last first, and add the rest."""
        draining = self._with_status(DRAINING)[::-1][:count]
        for i in draining:
            self._cluster.undrain(i, reason)
        for _ in range(count - len(draining)):
            self._cluster.add(self._group, round(self._options.cold_start_s * PS_PER_S), reason)

    def _shrink(self, count: int, reason: str) -> None:
        """Drain instances: those that are starting first, the last first, then those with the fewest requests."""
        inst = self._cluster.state.inst
        starting = self._with_status(STARTING)[::-1]
        requests = inst["waiting"] + inst["running"]
        ready = sorted(self._with_status(READY), key=lambda i: (requests[i], -i))
        for i in [*starting, *ready][:count]:
            self._cluster.drain(i, reason)
        self._cluster.stop_drained()


def _find_group(cluster: Cluster, options: AutoscalerOptions) -> int:
    names = [group.name for group in cluster.groups]
    if options.group is None and len(names) > 1:
        raise SimError(f"autoscaler.group: the fleet has several groups; name the one to scale: {', '.join(names)}")
    if options.group is not None and options.group not in names:
        raise SimError(unknown_name("autoscaler.group", options.group, names))
    return 0 if options.group is None else names.index(options.group)
