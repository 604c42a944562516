"""The control plane: SimPy owns the clock of rare events, the compiled kernel everything between two of them.

The kernel is one SimPy process that runs to the time of the next control event. A run without operations, samples,
progress and Python router is a single kernel call, but for returns to enlarge a memory pool. SimPy's clock counts the
kernel's integer picoseconds.
"""

import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import simpy
from simpy.events import EventPriority

from .cluster_checks import check_groups, check_weights
from .errors import SimError
from .kernel import advance as kernel
from .kernel.build import Group, Requests, add_instances, build, grow_pools
from .kernel.indicators import hit_tokens, look, pool_hit_tokens
from .kernel.indirect import router_address
from .kernel.router_memory import RouterMemory
from .kernel.signals import show_fresh
from .kernel.state import (
    BAD_CHOICE,
    FINISHED,
    GROW,
    LONGEST_PS,
    NEVER,
    PAUSE,
    REACHED,
    REJECT,
    ROUTE,
    STALLED,
    TOO_LONG,
)
from .operations import (
    BY_REQUEST,
    DRAINING,
    FAILED,
    PS_PER_S,
    READY,
    STARTING,
    STOPPED,
    ControlEvent,
    Operation,
    check_operations,
)
from .routing import ClusterView, PythonRouter, RoutedRequest, find_router
from .samples import Sampler, Samples

AFTER_OPERATIONS = EventPriority(2)  # SimPy priority: later than every control event (0 and 1) of the same instant
FOREVER = NEVER - 1
TOO_LONG_RUN = f"the run is longer than the {LONGEST_PS // PS_PER_S:,} s that its clock can count"
MOST_JUMPS = 1_000_000  # in a trace of the run: some 600 MB of JSON
EVENTS_PER_PROGRESS = 500_000  # kernel events between two progress calls, some 0.2 s


class Progress(NamedTuple):
    """How far a run has come."""

    simulated_s: float
    finished_requests: int
    requests: int
    events: int


class Cluster:
    """Groups of like instances, a router, and the requests that they serve. Instances count from 0, group by group.

    ``router`` names a compiled policy or is a Python router, for which ``describe(request id, arrival_s)`` makes the
    `RoutedRequest`; ``router_options`` are the policy's. ``memory`` says what the router knows beside its policy:
    sessions and clients, how late it sees the instances, its prefix index. The inter-token latencies of requests that
    arrive before ``warm_up_ps`` are counted apart. Raises `SimError` for a request that could never run, and for groups
    that do not go together.
    """

    def __init__(
        self,
        requests: Requests,
        groups: Sequence[Group],
        router: str | PythonRouter,
        router_seed: int = 0,
        describe: Callable[[int, float], RoutedRequest] | None = None,
        router_options: Mapping[str, Any] | None = None,
        memory: RouterMemory = RouterMemory(),  # noqa: B008 - immutable
        warm_up_ps: int = 0,
    ) -> None:
        check_groups(requests, groups)
        self.groups = tuple(groups)
        self.env = simpy.Environment(initial_time=0)
        self._python_router: PythonRouter | None = None
        self._router_address = 0
        self._tallies: tuple[str, ...] = ()
        if isinstance(router, str):
            policy, options = find_router(router, router_options)
            check_weights(groups, policy)
            self._router_address = router_address(policy.function)
            self._tallies = policy.tallies
            memory = memory._replace(
                options=options,
                tallies=len(policy.tallies),
                keeps_log=policy.keeps_log,
                watches_crowds=policy.watches_crowds,
            )
        else:
            self._python_router = router
        self.state = build(requests, groups, router_seed, memory, warm_up_ps)
        instances = len(self.state.inst)
        self.status = [READY] * instances
        self.log: list[ControlEvent] = []
        self.on_add: list[Callable[[int], None]] = []  # told of every instance added
        self._ready_ps = [0] * instances  # when its start-up is over
        self._sampler = Sampler()
        self._progress: Callable[[Progress], None] | None = None
        self._describe = describe or self._plain_description
        self._closed_since_ps = 0  # when the last accepting instance ceased to
        self._operations_done = 0
        self._report_at = EVENTS_PER_PROGRESS
        kernel.set_accepting(self.state, 0, instances, 1)

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(
        self,
        operations: Sequence[Operation] = (),
        sample_interval_ps: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        jumps_ps: tuple[int, int] | None = None,
    ) -> None:
        """Serve all requests, once; keep in `jumps` those that overlap ``jumps_ps``, from and until. Raises `SimError`
        for an operation that makes no sense, or if requests can never be served because no instance accepts any more,
        or those that have them hang.
        """
        check_operations(operations, len(self.status), len(self.groups))
        self.state.cluster[["jumps_from", "jumps_until"]] = jumps_ps or (0, 0)
        for operation in operations:
            self.env.process(self._operate(operation))
        self._sampler = Sampler(sample_interval_ps)
        self._progress = progress
        self.env.run(until=self.env.process(self._serve()))
        self.stop_drained()

    def _serve(self) -> Generator[simpy.Event, Any, None]:
        """The kernel as a process: run to the next control event, let it happen, go on."""
        while True:
            next_control = self.env.peek()
            reason = self._advance(FOREVER if next_control == float("inf") else int(next_control) - 1)
            if reason == FINISHED:
                return
            if next_control == float("inf"):
                raise SimError(self._stalled())
            if next_control > LONGEST_PS:
                raise SimError(TOO_LONG_RUN)
            resume = simpy.Event(self.env)  # a timeout, but with a priority of its own
            resume._ok, resume._value = True, None
            self.env.schedule(resume, priority=AFTER_OPERATIONS, delay=int(next_control) - self.env.now)
            yield resume

    def _stalled(self) -> str:
        """Why nothing can happen any more although requests are left."""
        left = len(self.state.req) - int(self.state.cluster["finished"][0] + self.state.cluster["rejected"][0])
        inst = self.state.inst
        frozen = np.flatnonzero((inst["frozen"] == 1) & (inst["waiting"] + inst["running"] > 0))
        if len(frozen):
            return f"operations: {left} requests can never be served: instance {frozen[0]} hangs; fail and repair it"
        return (
            f"operations: {left} requests can never be served: no instance accepts requests after "
            f"{self._closed_since_ps / PS_PER_S:g} s; repair or add one"
        )

    def _advance(self, until_ps: int) -> int:
        """Run the kernel up to and including ``until_ps``, answering whatever it asks for."""
        while True:
            sample_ps = self._sampler.due_ps(NEVER)
            budget = self._report_at - int(self.state.cluster["events"][0]) if self._progress else NEVER // 2
            reason = kernel.advance(self.state, min(until_ps, sample_ps - 1), self._router_address, budget)
            if reason == GROW:
                self._grow()
            elif reason == ROUTE:
                self._ask_router(int(self.state.cluster["asked"][0]))
            elif reason == PAUSE:
                self._report_at += EVENTS_PER_PROGRESS
                self._report_progress()
            elif reason == TOO_LONG:
                raise SimError(TOO_LONG_RUN)
            elif reason == BAD_CHOICE:
                asked = int(self.state.cluster["asked"][0])
                raise SimError(
                    f"the router's choice for request {asked} is no accepting instance; correct its function, "
                    "or its formula, which may have divided 0 by 0"
                )
            elif reason == FINISHED or sample_ps > until_ps or (reason == STALLED and until_ps == FOREVER):
                if reason != REACHED:
                    self._report_progress()
                return reason
            else:
                self._sampler.take(self.state, self.status, sample_ps)

    def _grow(self) -> None:
        cluster = self.state.cluster[0]
        if cluster["noted_jumps"] > MOST_JUMPS:
            raise SimError(
                f"trace window: instances made more than {MOST_JUMPS:,} steps and jumps in it by "
                f"{cluster['clock'] / PS_PER_S:g} s; use a shorter one"
            )
        self.state = grow_pools(self.state)

    @property
    def jumps(self) -> np.ndarray:
        """What the instances did within the window given to `run`: records of `state.JUMP` by end."""
        return self.state.jump[: self.state.cluster["noted_jumps"][0]]

    def _report_progress(self) -> None:
        if self._progress is None:
            return
        cluster = self.state.cluster[0]
        self._progress(
            Progress(
                simulated_s=int(cluster["clock"]) / PS_PER_S,
                finished_requests=int(cluster["finished"]),
                requests=len(self.state.req),
                events=int(cluster["events"]),
            )
        )

    # --- control operations -------------------------------------------------------------------------------------------

    @property
    def operations_done(self) -> int:
        """How many of the operations given to `run` have happened; those after the last finish do not."""
        return self._operations_done

    def _operate(self, operation: Operation) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(operation.at_ps)
        self._operations_done += 1
        if operation.kind == "add":
            self.add(operation.group, operation.startup_ps)
            return
        assert operation.instance is not None  # check_operations
        if operation.kind == "fail":
            self.fail(operation.instance, backoff_ps=operation.backoff_ps)
        else:
            getattr(self, operation.kind)(operation.instance)

    def _note(self, kind: str, i: int, reason: str, wait_ps: int = 0) -> None:
        self.log.append(ControlEvent(int(self.env.now), kind, i, reason, wait_ps))

    def add(self, group: int = 0, startup_ps: int = 0, reason: str = BY_REQUEST) -> int:
        """Start an instance of a group now; it accepts requests ``startup_ps`` later. Returns its index."""
        i = len(self.status)
        self.state = grow_pools(add_instances(self.state, group, 1))
        self.status.append(STARTING)
        self._ready_ps.append(int(self.env.now) + startup_ps)
        self._note("add", i, reason, startup_ps)
        self.env.process(self._become_ready(i, startup_ps))
        for told in self.on_add:
            told(i)
        return i

    def _become_ready(self, i: int, startup_ps: int) -> Generator[simpy.Event, Any, None]:
        if startup_ps > 0:
            yield self.env.timeout(startup_ps)
        if self.status[i] == STARTING:
            self._accept(i)
            self._note("ready", i, "started")

    def drain(self, i: int, reason: str = BY_REQUEST) -> None:
        """Instance ``i`` accepts no further requests; those it has finish there."""
        if self.status[i] in (STARTING, READY):
            self.status[i] = DRAINING
            kernel.set_accepting(self.state, i, i + 1, 0)
            self._note("drain", i, reason)
            self._note_closing()

    def undrain(self, i: int, reason: str = BY_REQUEST) -> None:
        """A draining instance accepts requests again, once its start-up is over."""
        if self.status[i] != DRAINING:
            return
        self._note("undrain", i, reason)
        if self._ready_ps[i] <= self.env.now:
            self._accept(i)
        else:
            self.status[i] = STARTING

    def stop_drained(self) -> None:
        """Switch off the draining instances that are empty: they were done when the last of their requests was."""
        for i in self.with_status(DRAINING):
            inst = self.state.inst[i]
            if inst["waiting"] + inst["running"] == 0:
                drained_ps = max(event.time_ps for event in self.log if event.kind == "drain" and event.instance == i)
                self.status[i] = STOPPED
                self.log.append(ControlEvent(max(drained_ps, int(inst["last_end"])), "stop", i, "drained"))

    def freeze(self, i: int, reason: str = BY_REQUEST) -> None:
        """Instance ``i`` hangs: what it has gets no further, and it takes requests as before, until it fails."""
        if self.status[i] not in (FAILED, STOPPED) and not self.state.inst["frozen"][i]:
            self._grow()
            self.state.cluster["clock"] = self.env.now
            kernel.freeze(self.state, i)
            self._note("freeze", i, reason)

    def fail(self, i: int, reason: str = BY_REQUEST, backoff_ps: int = 0) -> None:
        """Instance ``i`` loses its cache, and its requests are back at the router ``backoff_ps`` later; doing it twice
        changes nothing.
        """
        if self.status[i] not in (FAILED, STOPPED):
            self.status[i] = FAILED
            self._grow()
            self.state.cluster["clock"] = self.env.now
            kernel.fail(self.state, i, backoff_ps)
            self._note("fail", i, reason, backoff_ps)
            self._note_closing()

    def repair(self, i: int, reason: str = BY_REQUEST) -> None:
        """A failed instance accepts requests again, with an empty cache."""
        if self.status[i] == FAILED:
            self._ready_ps[i] = int(self.env.now)
            self._accept(i)
            self._note("repair", i, reason)

    def with_status(self, status: str) -> list[int]:
        """The instances of that status."""
        return [i for i, one in enumerate(self.status) if one == status]

    def _accept(self, i: int) -> None:
        self.status[i] = READY
        self.state.cluster["clock"] = self.env.now
        kernel.set_accepting(self.state, i, i + 1, 1)

    def _note_closing(self) -> None:
        if self.state.cluster["accepting"][0] == 0:
            self._closed_since_ps = int(self.env.now)

    # --- what Python sees of the instances ----------------------------------------------------------------------------

    def _plain_description(self, r: int, arrival_s: float) -> RoutedRequest:
        req = self.state.req[r]
        return RoutedRequest(
            id=r,
            arrival_s=arrival_s,
            input_tokens=int(req["input"]),
            priority=int(req["priority"]),
            client=-1,
            session=-1,
            turn=0,
            category="default",
        )

    def view(self, r: int) -> ClusterView:
        """The indicators of all instances, for request ``r`` at the kernel's present instant."""
        state = self.state
        show_fresh(state)
        decode_kv, blocks_used = np.zeros((2, len(self.status)), np.int64)
        look(state, decode_kv, blocks_used)
        hit_tokens(state, r)
        inst, shown = state.inst, state.shown
        hits = state.hits.copy()
        return ClusterView(
            queued_requests=shown["waiting"].copy(),
            running_requests=shown["running"].copy(),
            batch_size=shown["waiting"] + shown["running"],
            queued_prefill_tokens=shown["queued_prefill"].copy(),
            hit_tokens=hits,
            pool_hit_tokens=int(pool_hit_tokens(state, r)),
            new_tokens=state.req["input"][r] - hits,
            decode_kv_tokens=decode_kv,
            kv_used_fraction=blocks_used / inst["usable"],
            weight=state.group["weight"][inst["group"]],
            healthy=inst["accepting"] == 1,
        )

    @property
    def group_of_requests(self) -> np.ndarray:
        """Of each request the group, by its place, that has it or served it; -1 while it waits at the router."""
        instance = self.state.req["instance"]
        return np.where(instance < 0, -1, self.state.inst["group"][instance])

    @property
    def gpus(self) -> list[int]:
        """How many GPUs each instance takes."""
        return [self.groups[group].gpus for group in self.state.inst["group"]]

    @property
    def router_tallies(self) -> dict[str, int]:
        """What the policy counts, by name."""
        return dict(zip(self._tallies, self.state.tally.tolist(), strict=False))

    def _ask_router(self, r: int) -> None:
        assert self._python_router is not None
        view = self.view(r)
        choice = self._python_router(self._describe(r, int(self.state.req["arrival"][r]) / PS_PER_S), view)
        try:
            chosen = operator.index(choice)
        except TypeError:
            chosen = -1
        if chosen == REJECT:
            kernel.reject(self.state, r)
            return
        if not 0 <= chosen < len(self.status) or not view.healthy[chosen]:
            healthy = ", ".join(map(str, np.flatnonzero(view.healthy)))
            raise SimError(
                f"the Python router chose {choice!r} for request {r}; return the index of a healthy one: {healthy}; "
                "or sim.REJECT to refuse it"
            )
        kernel.assign(self.state, r, chosen)

    def samples(self) -> Samples:
        """What was sampled so far; instances added later count as empty before."""
        return self._sampler.samples(len(self.status))
