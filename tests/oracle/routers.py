"""The routers: which of the accepting instances gets a request."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import check_name
from .instance import Instance
from .request import Request
from .tiers import Pool

REJECT = -2  # the answer of a Python router that refuses a request


class SplitMix64:
    """The random stream of a run; `state` is its 64-bit initial state."""

    def __init__(self, state: int) -> None:
        self.state = state

    def below(self, n: int) -> int:
        mask = 2**64 - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        return ((z >> 32) * n) >> 32


class Router:
    """A policy of the table in docs/engine-rules.md, with its random stream and what it remembers of its choices."""

    def __init__(self, name: str, seed: int, weighted: bool) -> None:
        check_name("router", name, POLICIES)
        self.policy = POLICIES[name]
        self.random = SplitMix64(seed)
        self.choices = 0
        self.weighted = weighted  # some weights differ
        self.credit: defaultdict[int, float] = defaultdict(float)  # by instance index

    def choose(self, request: Request, accepting: Sequence[Instance]) -> Instance:
        """One of `accepting`, which is by index and not empty."""
        chosen = self.policy(self, request, accepting)
        self.choices += 1
        return chosen

    def lightest(self, accepting: Sequence[Instance], load: Callable[[Instance], int]) -> Instance:
        return self.argmin(accepting, lambda instance: load(instance) / instance.weight)

    def argmin(self, accepting: Sequence[Instance], score: Callable[[Instance], float]) -> Instance:
        scores = [score(instance) for instance in accepting]
        best = [instance for instance, value in zip(accepting, scores, strict=True) if value == min(scores)]
        return best[self.random.below(len(best))] if len(best) > 1 else best[0]


def _random(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    if not router.weighted:
        return accepting[router.random.below(len(accepting))]
    left = router.random.below(2**32) / 2**32 * sum(instance.weight for instance in accepting)
    for instance in accepting:
        left -= instance.weight
        if left < 0:
            return instance
    return accepting[-1]


def _round_robin(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    if not router.weighted:
        return accepting[router.choices % len(accepting)]
    for instance in accepting:
        router.credit[instance.index] += instance.weight
    chosen = max(accepting, key=lambda instance: router.credit[instance.index])
    router.credit[chosen.index] -= sum(instance.weight for instance in accepting)
    return chosen


def _least_requests(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    return router.lightest(accepting, lambda i: i.batch_size)


def _least_tokens(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    return router.lightest(accepting, lambda i: i.queued_prefill_tokens + i.decode_kv_tokens)


def _power_of_two(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    n = len(accepting)
    if n == 1:
        return accepting[0]
    a = router.random.below(n)
    b = router.random.below(n - 1)
    if b >= a:
        b += 1
    first, second = accepting[a], accepting[b]
    return second if second.batch_size / second.weight < first.batch_size / first.weight else first


def _vllm(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    return router.lightest(accepting, lambda i: 4 * i.queued_requests + i.running_requests)


def _lmetric(router: Router, request: Request, accepting: Sequence[Instance]) -> Instance:
    def score(instance: Instance) -> int:
        new_tokens = request.row.input_tokens - instance.hit_tokens(request)
        return (instance.queued_prefill_tokens + new_tokens) * (instance.batch_size + 1)

    return router.lightest(accepting, score)


POLICIES: dict[str, Callable[[Router, Request, Sequence[Instance]], Instance]] = {
    "random": _random,
    "round-robin": _round_robin,
    "least-requests": _least_requests,
    "least-tokens": _least_tokens,
    "power-of-two": _power_of_two,
    "vllm": _vllm,
    "lmetric": _lmetric,
}


@dataclass(frozen=True)
class View:
    """What a Python router sees: one entry per instance that exists, accepting (`healthy`) or not."""

    queued_requests: NDArray[np.int64]
    running_requests: NDArray[np.int64]
    batch_size: NDArray[np.int64]
    queued_prefill_tokens: NDArray[np.int64]
    hit_tokens: NDArray[np.int64]
    pool_hit_tokens: int
    new_tokens: NDArray[np.int64]
    decode_kv_tokens: NDArray[np.int64]
    kv_used_fraction: NDArray[np.float64]
    weight: NDArray[np.float64]
    healthy: NDArray[np.bool_]


class PythonRouter:
    """A router that is a function of the request's index and a View, and returns the index of an instance."""

    def __init__(self, function: Callable[[int, View], int], instances: Sequence[Instance], pool: Pool) -> None:
        self.function = function
        self.instances = instances
        self.pool = pool

    def choose(self, request: Request, accepting: Sequence[Instance]) -> Instance | None:
        """One of `accepting`, or None for a request that is refused."""
        chosen = int(self.function(request.id, self._view(request, accepting)))
        if chosen == REJECT:
            return None
        healthy = [instance.index for instance in accepting]
        if chosen not in healthy:
            raise ValueError(f"router: chose {chosen} for request {request.id}; return one of {healthy}")
        return self.instances[chosen]

    def _view(self, request: Request, accepting: Sequence[Instance]) -> View:
        def integers(read: Callable[[Instance], int]) -> NDArray[np.int64]:
            return np.array([read(instance) for instance in self.instances], dtype=np.int64)

        hit_tokens = integers(lambda i: i.hit_tokens(request))
        block_size = self.instances[0].engine.block_size
        pooled = self.pool.look_up(request.identities[: (request.known - 1) // block_size])
        return View(
            queued_requests=integers(lambda i: i.queued_requests),
            running_requests=integers(lambda i: i.running_requests),
            batch_size=integers(lambda i: i.batch_size),
            queued_prefill_tokens=integers(lambda i: i.queued_prefill_tokens),
            hit_tokens=hit_tokens,
            pool_hit_tokens=len(pooled) * block_size,
            new_tokens=request.row.input_tokens - hit_tokens,
            decode_kv_tokens=integers(lambda i: i.decode_kv_tokens),
            kv_used_fraction=np.array([i.kv_used_fraction for i in self.instances], dtype=np.float64),
            weight=np.array([i.weight for i in self.instances], dtype=np.float64),
            healthy=np.array([i in accepting for i in self.instances], dtype=np.bool_),
        )
