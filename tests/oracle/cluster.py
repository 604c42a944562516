"""The cluster: the clock, the order of events at one instant, arrivals and control operations."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from .batching import BATCHINGS
from .engine import Engine, Group
from .errors import check_name
from .eviction import POLICIES, ReuseLaws
from .instance import Instance
from .invariants import check_finished, check_instant, check_step
from .queues import ORDERS
from .request import Outcome, Request, Row, make_requests
from .routers import PythonRouter, Router, View
from .tiers import Pool

KINDS = ("add", "drain", "undrain", "freeze", "fail", "repair")


@dataclass(frozen=True)
class Operation:
    """A control operation: `kind` is one of `KINDS`; `startup_ps` is for "add" alone, `backoff_ps` for "fail".

    The `instance` of an "add" is the index that the new one gets: the next free one. `group` is its group, by place.
    """

    at_ps: int
    kind: str
    instance: int
    startup_ps: int = 0
    backoff_ps: int = 0
    group: int = 0


def run(
    rows: Sequence[Row],
    groups: Sequence[Group],
    router: str | Callable[[int, View], int],
    router_seed: int = 0,
    operations: Sequence[Operation] = (),
    check: bool = True,
) -> list[Outcome]:
    """Simulate `rows` on the instances of `groups`, which accept from time 0; returns one Outcome per row.

    `router` is a name of docs/engine-rules.md, or a function of (request index, View) that returns the index
    of an instance. `router_seed` is the 64-bit initial state of the random stream. `check` asserts the
    invariants after each step and instant, which costs time in proportion to blocks and requests. Raises
    ValueError for input that breaks a rule.
    """
    cluster = Cluster(rows, groups, router, router_seed, operations, check)
    cluster.run()
    return [request.outcome for request in cluster.requests]


class Cluster:
    """All instances and all requests, and the clock that moves them."""

    def __init__(
        self,
        rows: Sequence[Row],
        groups: Sequence[Group],
        router: str | Callable[[int, View], int],
        router_seed: int,
        operations: Sequence[Operation],
        check: bool,
    ) -> None:
        self.groups = groups
        self.requests = make_requests(rows, groups[0].engine.block_size)
        for engine in (group.engine for group in groups):
            check_name("engine.batching", engine.batching, BATCHINGS)
            check_name("engine.queue", engine.queue, ORDERS)
            check_name("engine.eviction", engine.eviction, POLICIES)
            self._check_fit(engine)
        self.laws = ReuseLaws()
        self.pool = Pool(groups[0].engine.pool_blocks)
        self.instances: list[Instance] = []
        for group in groups:
            for _ in range(group.instances):
                self._add(group, 0)
        self.router: Router | PythonRouter
        if isinstance(router, str):
            self.router = Router(router, router_seed, weighted=len({group.weight for group in groups}) > 1)
        else:
            self.router = PythonRouter(router, self.instances, self.pool)
        # A stable sort: operations at one instant stay in list order.
        self.operations = sorted(operations, key=lambda operation: operation.at_ps)
        self.check = check

        self.follow_ups: defaultdict[int, list[Request]] = defaultdict(list)
        self.due: list[tuple[int, int]] = []  # heap of (arrival time, request id)
        self.at_router: list[Request] = []  # in the order in which they came
        for request in self.requests:
            if request.row.parent >= 0:
                self.follow_ups[request.row.parent].append(request)
            else:
                self._schedule_arrival(request, request.row.arrival_ps)

    def _add(self, group: Group, accepts_from_ps: int) -> None:
        self.instances.append(Instance(len(self.instances), group, self.laws, self.pool, accepts_from_ps))

    def _check_fit(self, engine: Engine) -> None:
        """Raise ValueError for a request that an empty instance could never admit, or never finish."""
        policy = BATCHINGS[engine.batching]
        most_blocks = engine.usable_blocks - engine.watermark_blocks - policy.spare_blocks
        for request in self.requests:
            tokens = request.row.input_tokens + request.row.output_tokens - 1
            if policy.whole_prompts and tokens > engine.step_tokens:
                raise ValueError(
                    f"rows[{request.id}]: {tokens} tokens may be prefilled in one step, which holds "
                    f"{engine.step_tokens}; raise max_num_batched_tokens or shorten the request"
                )
            blocks = engine.blocks_for(tokens)
            if blocks > most_blocks:
                raise ValueError(
                    f"rows[{request.id}]: needs {blocks} KV blocks of the {most_blocks} of an instance; "
                    "raise num_blocks, lower watermark or shorten the request"
                )

    def run(self) -> None:
        """Go from instant to instant until nothing more can happen."""
        now_ps = -1
        while (next_ps := self._next_instant_ps(now_ps)) is not None:
            assert next_ps > now_ps, "time never goes back"
            now_ps = next_ps
            self._operate(now_ps)
            self._end_steps(now_ps)
            self._arrive(now_ps)
            self._start_steps(now_ps)
            if self.check:
                due = [self.requests[request_id] for _, request_id in self.due]
                check_instant(self.instances, self.at_router, due, self.requests)

    def _next_instant_ps(self, now_ps: int) -> int | None:
        instants = [operation.at_ps for operation in self.operations[:1]]
        instants += [at_ps for at_ps, _ in self.due[:1]]
        for instance in self.instances:
            if instance.step_end_ps is not None:
                instants.append(instance.step_end_ps)
            if instance.accepts_from_ps is not None and instance.accepts_from_ps > now_ps:
                instants.append(instance.accepts_from_ps)
        return min(instants, default=None)

    def _operate(self, now_ps: int) -> None:
        while self.operations and self.operations[0].at_ps == now_ps:
            self._apply(self.operations.pop(0), now_ps)

    def _apply(self, operation: Operation, now_ps: int) -> None:
        check_name("operation.kind", operation.kind, KINDS)
        if operation.kind == "add":
            added = len(self.instances)
            if operation.instance != added:
                raise ValueError(f"operation.instance: {operation.instance} is not the next; use {added}")
            self._add(self.groups[operation.group], now_ps + operation.startup_ps)
            return
        if not 0 <= operation.instance < len(self.instances):
            raise ValueError(f"operation.instance: no {operation.instance}; use 0..{len(self.instances) - 1}")
        instance = self.instances[operation.instance]
        if operation.kind == "drain":
            instance.drain()
        elif operation.kind == "undrain":
            instance.undrain(now_ps)
        elif operation.kind == "freeze":
            instance.freeze()
        elif operation.kind == "repair":
            instance.repair(now_ps)
        else:
            for request in instance.fail():
                heappush(self.due, (now_ps + operation.backoff_ps, request.id))

    def _end_steps(self, now_ps: int) -> None:
        for instance in self.instances:
            if instance.step_end_ps != now_ps:
                continue
            for request in instance.end_step(now_ps):
                if self.check:
                    check_finished(request)
                for follow_up in self.follow_ups[request.id]:
                    self._schedule_arrival(follow_up, now_ps + follow_up.row.think_ps)

    def _schedule_arrival(self, request: Request, at_ps: int) -> None:
        request.outcome.arrival_ps = at_ps
        heappush(self.due, (at_ps, request.id))

    def _arrive(self, now_ps: int) -> None:
        """Route, or let wait at the router, what arrives now; those that wait there already come first."""
        arrivals, self.at_router = self.at_router, []
        while self.due and self.due[0][0] == now_ps:
            arrivals.append(self.requests[heappop(self.due)[1]])
        accepting = [instance for instance in self.instances if instance.accepts(now_ps)]
        if not accepting:
            self.at_router = arrivals
            return
        for request in arrivals:
            chosen = self.router.choose(request, accepting)
            if chosen is None:
                self._reject(request)
            else:
                chosen.join(request, now_ps)

    def _reject(self, request: Request) -> None:
        """The router refuses it, and whatever would have followed it."""
        request.outcome.rejected = True
        for follow_up in self.follow_ups[request.id]:
            self._reject(follow_up)

    def _start_steps(self, now_ps: int) -> None:
        for instance in self.instances:
            if instance.can_start:
                instance.start_step(now_ps)
                if self.check:
                    check_step(instance, self.requests)
