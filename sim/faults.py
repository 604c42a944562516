"""Failures of instances and nodes as SimPy processes, and what they cost. docs/faults.md says what is modelled.

An instance that fails hangs, unnoticed, until the failure is detected; then its requests go back to the router. Every
instance and every node has a random stream of its own, so another one more changes nothing for the others.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from .cluster import Cluster
from .errors import SimError
from .kernel.state import DECODE, PARKED, PREFILL, WAITING
from .metrics import ratio
from .operations import FAILED, PS_PER_S, STOPPED
from .scenario import FaultOptions

INSTANCE_STREAM, NODE_STREAM = range(2)
GPUS_PER_NODE = 8  # an assumption: the common server


def unit_stream(seed: int, kind: int, unit: int) -> np.random.Generator:
    """The random stream of an instance or a node, by its index."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(kind, unit)))


@dataclass
class Outage:
    """One time for which an instance was down, and what that cost. Times in ps; -1: not before the run ended."""

    instance: int
    with_node: bool
    transient: bool
    failed_ps: int
    detected_ps: int = -1
    repaired_ps: int = -1
    iterations: int = 0  # lost: those in flight
    output_tokens: int = 0  # lost: generated for requests that were there
    prompt_tokens: int = 0  # lost: prefilled for them, beyond what they hit in the cache


class Faults:
    """Lets instances of ``cluster`` fail and be repaired, from its start to the end of its run.

    ``seed`` is that of all streams. `outages` and `retries` (one count a request) tell afterwards what happened.
    """

    def __init__(self, cluster: Cluster, options: FaultOptions, seed: int) -> None:
        self.outages: list[Outage] = []
        self.retries = np.zeros(len(cluster.state.req), np.int64)
        self._cluster = cluster
        self._options = options
        self._seed = seed
        self._per_node = options.instances_per_node or _instances_per_node(cluster, options)
        self._up_ps: dict[int, int] = {}  # when the instances that are down will be up
        for i in range(len(cluster.status)):
            self._expose(i)
        cluster.on_add.append(self._expose)

    def _expose(self, i: int) -> None:
        """Instance ``i`` may fail from now on, and so may its node if it is the first there."""
        options, env = self._options, self._cluster.env
        if options.instance_mtbf_s is not None:
            env.process(self._fail_again(INSTANCE_STREAM, i, options.instance_mtbf_s, options.instance_mttr_s))
        if options.node_mtbf_s is not None and i % self._per_node == 0:
            node = i // self._per_node
            env.process(self._fail_again(NODE_STREAM, node, options.node_mtbf_s, options.node_mttr_s))

    def _fail_again(self, kind: int, unit: int, mtbf_s: float, mttr_s: float) -> Generator[simpy.Event, Any, None]:
        """An instance or a node runs, fails, is repaired, and so on, until all of it is switched off."""
        rng = unit_stream(self._seed, kind, unit)
        while True:
            yield self._cluster.env.timeout(_ps(rng.exponential(mtbf_s)))
            transient = bool(rng.random() < self._options.transient_share)
            repair_s = rng.exponential(mttr_s)
            down_ps = _ps(self._options.detection_s) + _ps(self._options.restart_s if transient else repair_s)
            members = [i for i in self._members(kind, unit) if self._cluster.status[i] != STOPPED]
            if not members:
                return
            for i in members:
                self._take_down(i, kind == NODE_STREAM, transient, down_ps)
            yield self._cluster.env.timeout(down_ps)

    def _members(self, kind: int, unit: int) -> range:
        if kind == INSTANCE_STREAM:
            return range(unit, unit + 1)
        return range(unit * self._per_node, min((unit + 1) * self._per_node, len(self._cluster.status)))

    def _take_down(self, i: int, with_node: bool, transient: bool, down_ps: int) -> None:
        """Instance ``i`` fails now. If it is down already, it is so for longer, should this take longer."""
        cluster = self._cluster
        was_down = i in self._up_ps
        self._up_ps[i] = max(self._up_ps.get(i, 0), int(cluster.env.now) + down_ps)
        if was_down:
            return
        reason = f"{'node' if with_node else 'instance'}, {'transient' if transient else 'hard'}"
        outage = Outage(i, with_node, transient, int(cluster.env.now))
        self.outages.append(outage)
        stepping = bool(cluster.state.inst["planned"][i] > 0)
        cluster.freeze(i, reason)
        self._note_losses(outage, stepping)
        cluster.env.process(self._recover(outage, reason))

    def _note_losses(self, outage: Outage, stepping: bool) -> None:
        """What the hanging instance has done for its requests; ``stepping``: with an iteration in flight."""
        inst = self._cluster.state.inst[outage.instance]
        req = self._cluster.state.req[self._present(outage.instance)]
        decoding = req["state"] == DECODE
        # Its iteration number counts the iteration in flight, whose tokens were never there.
        unborn = 1 if stepping and not inst["paused"] else 0
        computed = np.where(decoding, req["anchor"] + inst["iteration"], req["computed"])
        generated = np.where(decoding, computed + 1 - req["input"] - unborn, req["generated"])
        prefilled = np.minimum(computed, req["input"]) - np.maximum(req["hit"], 0)
        outage.iterations = int(stepping)
        outage.output_tokens = int(generated.sum())
        outage.prompt_tokens = int(np.maximum(prefilled, 0).sum())

    def _present(self, i: int) -> np.ndarray:
        """The requests waiting or running on instance ``i``."""
        req = self._cluster.state.req
        return np.flatnonzero((req["instance"] == i) & np.isin(req["state"], (WAITING, PREFILL, DECODE, PARKED)))

    def _recover(self, outage: Outage, reason: str) -> Generator[simpy.Event, Any, None]:
        """The failure is detected, and later repaired."""
        cluster, i = self._cluster, outage.instance
        yield cluster.env.timeout(_ps(self._options.detection_s))
        outage.detected_ps = int(cluster.env.now)
        if cluster.status[i] not in (FAILED, STOPPED):
            self.retries[self._present(i)] += 1
            cluster.fail(i, reason, _ps(self._options.retry_backoff_s))
        while cluster.env.now < self._up_ps[i]:
            yield cluster.env.timeout(self._up_ps[i] - cluster.env.now)
        del self._up_ps[i]
        outage.repaired_ps = int(cluster.env.now)
        cluster.repair(i, reason)

    def summary(self, end_ps: int) -> dict[str, Any]:
        """The failures of a run that ended at ``end_ps``, and their cost (docs/results.md)."""
        detection_ps = repair_ps = lost_gpu_ps = 0
        gpus = self._cluster.gpus
        for outage in self.outages:
            detected_ps = end_ps if outage.detected_ps < 0 else outage.detected_ps
            repaired_ps = end_ps if outage.repaired_ps < 0 else outage.repaired_ps
            detection_ps += detected_ps - outage.failed_ps
            repair_ps += repaired_ps - detected_ps
            lost_gpu_ps += (repaired_ps - outage.failed_ps) * gpus[outage.instance]
        return {
            "outages": len(self.outages),
            "outages_with_node": sum(outage.with_node for outage in self.outages),
            "outages_transient": sum(outage.transient for outage in self.outages),
            "lost_iterations": sum(outage.iterations for outage in self.outages),
            "lost_output_tokens": sum(outage.output_tokens for outage in self.outages),
            "lost_prompt_tokens": sum(outage.prompt_tokens for outage in self.outages),
            "detection_instance_s": detection_ps / PS_PER_S,
            "repair_instance_s": repair_ps / PS_PER_S,
            "lost_gpu_hours": lost_gpu_ps / PS_PER_S / 3600,
            "requests_retried": int((self.retries > 0).sum()),
            "retries_mean": ratio(int(self.retries.sum()), len(self.retries)),
            "retries_max": int(self.retries.max(initial=0)),
        }


def _instances_per_node(cluster: Cluster, options: FaultOptions) -> int:
    """As many as fit on a node's GPUs."""
    gpus = {group.gpus for group in cluster.groups}
    if len(gpus) > 1 and options.node_mtbf_s is not None:
        raise SimError(
            "faults.instances_per_node: is missing; the fleet's groups take different numbers of GPUs an instance, so "
            "say how many instances are on a node"
        )
    return max(1, GPUS_PER_NODE // max(gpus))


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)
