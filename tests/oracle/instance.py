"""One instance: its waiting queue, its running list, and the steps it makes of them."""

from dataclasses import dataclass

from .batching import BATCHINGS
from .blocks import BlockPool
from .engine import Group
from .eviction import Eviction, ReuseLaws
from .queues import in_order
from .request import Identity, Request
from .steptime import StepTimes
from .tiers import HostMemory, Pool


@dataclass(frozen=True)
class EndedStep:
    """What the schedule of the step after this one depends on."""

    start_ps: int
    end_ps: int
    finished_requests: int


@dataclass(frozen=True)
class Step:
    """A step that ended."""

    start_ps: int
    end_ps: int
    decode_requests: int
    prefill_requests: int
    prefill_tokens: int


@dataclass(frozen=True)
class Found:
    """What there is of the leading blocks of a request: blocks on the GPU, then contents in host memory, then in the
    pool.
    """

    on_gpu: list[int]
    in_host: list[Identity]
    in_pool: list[Identity]

    @property
    def loaded(self) -> int:
        """Blocks that have to be loaded, each into a free one."""
        return len(self.in_host) + len(self.in_pool)

    @property
    def count(self) -> int:
        return len(self.on_gpu) + self.loaded


class Instance:
    """One instance, accepting requests from `accepts_from_ps` on (None: not before a repair)."""

    def __init__(self, index: int, group: Group, laws: ReuseLaws, shared: Pool, accepts_from_ps: int) -> None:
        self.index = index
        self.engine = group.engine
        self.weight = group.weight
        self.times = StepTimes(group.steps, group.engine.stages, group.engine.microbatch_tokens)
        self.laws = laws
        self.shared = shared
        self.ready_ps = accepts_from_ps
        self.accepts_from_ps: int | None = accepts_from_ps
        self.failed = False
        self.frozen = False
        self.steps: list[Step] = []
        self._empty()

    def _empty(self) -> None:
        eviction = Eviction(self.engine.eviction, self.engine.usable_blocks, self.laws)
        self.host = HostMemory(self.engine.host_blocks)
        self.pool = BlockPool(self.engine.num_blocks, self.engine.prefix_caching, eviction, self.host)
        self.waiting: list[Request] = []
        self.running: list[Request] = []  # in admission order
        self.scheduled: dict[Request, int] = {}  # tokens of the iteration in flight
        self.load_ps = 0  # of the step being put together
        self.step_start_ps = 0
        self.step_end_ps: int | None = None  # None: no iteration in flight
        self.in_flight: Step | None = None
        self.previous: EndedStep | None = None
        self.policy = BATCHINGS[self.engine.batching](self)

    # What routers read.

    def accepts(self, now_ps: int) -> bool:
        return self.accepts_from_ps is not None and self.accepts_from_ps <= now_ps

    @property
    def queued_requests(self) -> int:
        return len(self.waiting)

    @property
    def running_requests(self) -> int:
        return len(self.running)

    @property
    def batch_size(self) -> int:
        return self.queued_requests + self.running_requests

    @property
    def queued_prefill_tokens(self) -> int:
        waiting = sum(request.estimate for request in self.waiting)
        # Tokens of the iteration in flight are still queued. The hit of a request that it admitted never was,
        # just as the estimate of a waiting one leaves it out.
        running = sum(
            request.known - request.computed + self.scheduled.get(request, 0)
            for request in self.running
            if request.in_prefill
        )
        return waiting + running

    @property
    def decode_kv_tokens(self) -> int:
        return sum(request.computed for request in self.running if not request.in_prefill)

    @property
    def kv_used_fraction(self) -> float:
        return self.pool.blocks_in_use / self.pool.usable_blocks

    def hit_tokens(self, request: Request) -> int:
        """What is on the GPU or in host memory."""
        found = self._look_up(request)
        return (len(found.on_gpu) + len(found.in_host)) * self.engine.block_size

    def _look_up(self, request: Request) -> Found:
        # At least one token has to be computed, for its logits.
        identities = request.identities[: (request.known - 1) // self.engine.block_size]
        on_gpu = self.pool.look_up(identities)
        in_host = self.host.look_up(identities[len(on_gpu) :])
        own = len(on_gpu) + len(in_host)
        return Found(on_gpu, in_host, self.shared.look_up(identities)[own:])

    # Control operations.

    def drain(self) -> None:
        self.accepts_from_ps = None

    def undrain(self, now_ps: int) -> None:
        if not self.failed and self.accepts_from_ps is None:
            self.accepts_from_ps = max(now_ps, self.ready_ps)

    def freeze(self) -> None:
        """Hang: the iteration in flight never ends, and no other starts. A router sees nothing of it."""
        if not self.failed:
            self.frozen = True
            self.step_end_ps = None

    def fail(self) -> list[Request]:
        """Lose the iteration in flight and the cache; returns the requests that were here, restarted."""
        lost = self.running + self.waiting
        for request in lost:
            request.restart()
        self._empty()
        self.accepts_from_ps = None
        self.failed = True
        self.frozen = False
        return lost

    def repair(self, now_ps: int) -> None:
        if self.failed:
            self.failed = False
            self.ready_ps = self.accepts_from_ps = now_ps

    # The waiting queue.

    def join(self, request: Request, now_ps: int) -> None:
        """A request that the router sends here."""
        request.outcome.instance = self.index
        self._wait(request, len(self.waiting), now_ps)

    def _wait(self, request: Request, place: int, now_ps: int) -> None:
        request.joined_ps = now_ps
        request.estimate = request.known - self.hit_tokens(request)
        self.waiting.insert(place, request)

    # A step.

    @property
    def can_start(self) -> bool:
        return self.step_end_ps is None and not self.frozen and bool(self.waiting or self.running)

    def start_step(self, now_ps: int) -> None:
        """Schedule an iteration, which ends at `step_end_ps`."""
        self.policy.schedule(now_ps)
        chunks = []
        decode_kv, generated = [], []
        for request, n in self.scheduled.items():
            if request.in_prefill:
                chunks.append((n, request.computed - n))
            else:
                decode_kv.append(request.computed)
                generated.append(request.computed - request.row.input_tokens)
        self.step_start_ps = now_ps
        compute_ps = self.times.duration_ps(chunks, decode_kv, generated)
        if self.engine.overlap_loads:
            self.step_end_ps = now_ps + max(compute_ps, self.load_ps)
        else:
            self.step_end_ps = now_ps + compute_ps + self.load_ps
        self.load_ps = 0
        self.in_flight = Step(
            now_ps, self.step_end_ps, len(decode_kv), len(chunks), sum(tokens for tokens, _ in chunks)
        )

    def end_step(self, now_ps: int) -> list[Request]:
        """Hand out the tokens of the iteration in flight; returns who finishes, in admission order."""
        if self.in_flight is not None:
            self.steps.append(self.in_flight)
            self.in_flight = None
        finished = []
        for request in self.running:
            if request not in self.scheduled or request.computed < request.known:
                continue
            request.in_prefill = False
            request.generated += 1
            if request.generated == 1:
                request.outcome.first_token_ps = now_ps
            if request.generated == request.row.output_tokens:
                request.outcome.finish_ps = now_ps
                finished.append(request)
        self.scheduled = {}
        self.step_end_ps = None
        self.previous = EndedStep(self.step_start_ps, now_ps, len(finished))
        for request in finished:
            self.running.remove(request)
            self.laws.learn(request.identities, request.row.reuse_class, now_ps)
            self._free(request, now_ps)
        return finished

    def admit_as_scheduled(self, budget: int, now_ps: int) -> None:
        """Admit on what was known when this step was scheduled: when the one before started, if it has just ended."""
        previous = self.previous
        if not self.engine.async_scheduling or previous is None or previous.end_ps < now_ps:
            self.admit(budget, now_ps, now_ps, 0)
            return
        self.admit(budget, now_ps, previous.start_ps, previous.finished_requests)
        if not self.running:
            self.admit(budget, now_ps, now_ps, 0)

    def admit(self, budget: int, now_ps: int, scheduled_ps: int, seats_seen_taken: int) -> None:
        """Move requests from the head of the waiting queue to the running list, until one does not fit or joined the
        queue after `scheduled_ps`. `seats_seen_taken` were still taken then."""
        for request in in_order(self):
            if budget == 0 or len(self.running) + seats_seen_taken >= self.engine.max_num_seqs:
                return
            if request.joined_ps > scheduled_ps:
                return
            found = self._look_up(request)
            n = self.policy.grant(request, found, budget)
            if n == 0:
                return
            self.waiting.remove(request)
            self.running.append(request)
            for block in found.on_gpu:
                self.pool.take(block)
            request.blocks = list(found.on_gpu)
            self._load(request, found)
            request.computed = found.count * self.engine.block_size
            request.in_prefill = True
            if request.outcome.first_scheduled_ps == -1:
                request.outcome.first_scheduled_ps = now_ps
                request.outcome.hit_tokens = (found.count - found.loaded) * self.engine.block_size
                request.outcome.host_hit_tokens = len(found.in_host) * self.engine.block_size
                request.outcome.pool_hit_tokens = len(found.in_pool) * self.engine.block_size
            self.schedule(request, n)
            budget -= n

    def _load(self, request: Request, found: Found) -> None:
        """Bring what was found below the GPU into free blocks; it leaves host memory before those are taken."""
        for identity in found.in_host:
            self.host.drop(identity)
        self.load_ps += len(found.in_host) * self.engine.host_block_ps + len(found.in_pool) * self.engine.pool_block_ps
        self.host.loaded_blocks += len(found.in_host)
        self.shared.loaded_blocks += len(found.in_pool)
        first = len(request.blocks)
        request.blocks += self.pool.allocate(found.loaded)
        for position in range(first, len(request.blocks)):
            self._cache(request, position)

    def _cache(self, request: Request, position: int) -> None:
        """The content of the block at this position enters the cache."""
        before = request.identities[position - 1] if position > 0 else None
        kept = self.pool.cache(request.blocks[position], request.identities[position], before)
        if kept is not None:
            request.kept[position] = kept

    def schedule(self, request: Request, n: int) -> None:
        """Compute `n` more tokens of a running request in this step; the blocks they need are free."""
        block_size = self.engine.block_size
        full_before = request.computed // block_size
        request.computed += n
        self.scheduled[request] = n
        request.blocks += self.pool.allocate(self.engine.blocks_for(request.computed) - len(request.blocks))
        for position in range(full_before, request.computed // block_size):
            self._cache(request, position)

    def preempt(self, victim: Request, place: int, now_ps: int) -> None:
        """Send a running request back to this place of the queue; what this step has scheduled of it is void."""
        self.running.remove(victim)
        self.scheduled.pop(victim, None)
        self._free(victim, now_ps)
        victim.computed = 0
        victim.outcome.preemptions += 1
        self._wait(victim, place, now_ps)

    def _free(self, request: Request, now_ps: int) -> None:
        """Free the blocks of a request, last one first."""
        if self.engine.prefix_caching:
            used = request.identities[: request.computed // self.engine.block_size]
            self.pool.eviction.end_use(used, request.row.reuse_class, now_ps)
            self.shared.store(used)
        for position in reversed(range(len(request.blocks))):
            self.pool.release(request.blocks[position])
            if position in request.kept:
                self.pool.release(request.kept[position])
        request.blocks = []
        request.kept = {}
