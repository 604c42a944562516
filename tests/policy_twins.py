"""Routing policies once more in plain Python, as functions of a state to the scores of the accepting instances.

Each is written from its formula (`servesim routers NAME`); the lowest score is best. The steps are those of
`router_states.linear_steps`, in chunks of `ENGINE.max_num_batched_tokens`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from statistics import mean, stdev

from router_states import ENGINE, PROMPT_TOKENS

from sim.kernel.state import REJECT

S = 10**12  # ps
MASK = 2**64 - 1
MANY = 2.0**24  # outweighs all requests of an instance


@dataclass(frozen=True)
class Sent:
    """A request of the router's log; times in ps, finish -1 before it has ended."""

    at: int
    instance: int
    new_tokens: int
    client: int
    input: int
    output: int
    scheduled: int
    first_token: int
    finish: int


@dataclass(frozen=True)
class State:
    """What a policy may know when request 0 arrives, of 100 tokens; lists are by instance."""

    accepting: list[int]
    waiting: list[int]
    running: list[int]
    queued_prefill: list[int]
    decode_kv: list[int]
    blank: list[int]
    hits: list[int]
    without_hit: list[int]  # when last a request without a hit was sent there
    home: int  # of the session; -1 for none
    session: int  # -1 for none
    client: int
    clock: int
    log: list[Sent]
    options: dict[str, float]

    def size(self, i: int) -> int:
        return self.waiting[i] + self.running[i]

    def sizes(self) -> list[int]:
        return [self.size(i) for i in self.accepting]

    def new_tokens(self, i: int) -> int:
        return PROMPT_TOKENS - self.hits[i]

    def longest(self) -> int:
        return max(self.hits[i] for i in self.accepting)

    def window(self) -> list[Sent]:
        return [sent for sent in self.log if sent.at >= self.clock - self.options["window_s"] * S]

    def recent(self, i: int) -> list[Sent]:
        return [sent for sent in self.window() if sent.instance == i]

    def finished(self, i: int) -> list[Sent]:
        return [sent for sent in self.recent(i) if sent.finish >= 0]

    def each(self, score: Callable[[int], float]) -> dict[int, float]:
        return {i: score(i) for i in self.accepting}

    def fewest_requests(self) -> dict[int, float]:
        return self.each(self.size)

    def among(self, best: set[int], score: Callable[[int], float]) -> dict[int, float]:
        return self.each(lambda i: score(i) if i in best else inf)

    def longest_matches(self) -> set[int]:
        return {i for i in self.accepting if self.hits[i] == self.longest()}


Twin = Callable[[State], dict[int, float]]


def hashed(key: int, i: int) -> int:
    z = (key * 0x9E3779B97F4A7C15 + (i + 1) * 0xD1B54A32D192ED03) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def session_key(s: State) -> int:
    return s.session if s.session >= 0 else len(s.log) + 1


def load_bound(s: State) -> float:
    return s.options["load_factor"] * (sum(s.sizes()) + 1) / len(s.accepting)


def bounded_consistent_hash(s: State) -> dict[int, float]:
    return s.each(lambda i: -hashed(session_key(s), i) if s.size(i) <= load_bound(s) else inf)


def session_affinity(s: State) -> dict[int, float]:
    at_home = s.session >= 0 and s.home in s.accepting
    return s.among({s.home}, s.size) if at_home else s.fewest_requests()


def prefix_hash(s: State) -> dict[int, float]:
    home = max(s.accepting, key=lambda i: hashed(0, i))
    return s.among({home}, s.size) if s.size(home) <= load_bound(s) else s.fewest_requests()


def kvaware(s: State) -> dict[int, float]:
    if s.longest() > 0 and s.longest() >= PROMPT_TOKENS - s.options["threshold_tokens"]:
        return s.each(lambda i: -s.hits[i])
    if s.session >= 0:
        return s.each(lambda i: -hashed(s.session, i))
    return s.each(lambda i: len(s.recent(i)))


def cache_aware(s: State) -> dict[int, float]:
    sizes, options = s.sizes(), s.options
    apart = max(sizes) - min(sizes) > options["balance_abs"] and max(sizes) > options["balance_rel"] * min(sizes)
    if apart or s.longest() / PROMPT_TOKENS <= options["match_threshold"]:
        return s.fewest_requests()
    return s.each(lambda i: -s.hits[i])


def dynamo(s: State) -> dict[int, float]:
    weight = s.options["overlap_weight"]
    return s.each(lambda i: (weight * (s.queued_prefill[i] + s.new_tokens(i)) + s.decode_kv[i]) / ENGINE.block_size)


def prefix_cache(s: State) -> dict[int, float]:
    sizes = s.sizes()
    if max(sizes) - min(sizes) > s.options["imbalance"]:
        return s.fewest_requests()
    bound = mean(sizes) + s.options["deviations"] * (stdev(sizes) if len(sizes) > 1 else 0)
    matches = {i for i in s.accepting if s.hits[i] > 0 and s.size(i) <= bound}
    return s.among(matches, lambda i: s.size(i) - MANY * s.hits[i]) if matches else s.fewest_requests()


def filtered(s: State) -> dict[int, float]:
    if max(s.sizes()) - min(s.sizes()) > s.options["range"]:
        return s.fewest_requests()
    return s.each(lambda i: s.size(i) - MANY * s.hits[i])


def prefix_cache_preble(s: State) -> dict[int, float]:
    if s.longest() > s.options["match_threshold"] * PROMPT_TOKENS:
        return s.among(s.longest_matches(), lambda i: len(s.recent(i)))
    return s.each(lambda i: recent_cost(s, i))


def recent_cost(s: State, i: int) -> float:
    return sum(sent.new_tokens for sent in s.recent(i)) + s.options["request_tokens"] * len(s.recent(i))


def preble(s: State) -> dict[int, float]:
    if s.longest() > PROMPT_TOKENS / 2:
        return s.among(s.longest_matches(), lambda i: s.queued_prefill[i])
    return s.each(lambda i: recent_cost(s, i) + s.new_tokens(i))


def throughput(s: State) -> dict[int, float]:
    def tokens(sent: Sent) -> float:
        return s.options["prompt_weight"] * sent.input + s.options["output_weight"] * sent.output

    return s.each(lambda i: mean(map(tokens, s.finished(i))) if s.finished(i) else 0)


def least_latency(s: State) -> dict[int, float]:
    known = [s.finished(i) for i in range(len(s.waiting)) if s.finished(i)]
    if not known:
        return s.each(lambda i: 0)
    prompt = mean(mean(sent.input for sent in finished) for finished in known)
    answer = mean(mean(sent.output for sent in finished) for finished in known)

    def latency(i: int) -> float:
        finished = s.finished(i)
        if not finished:
            return 0
        queued = mean(sent.scheduled - sent.at for sent in finished)
        prefill = sum(sent.first_token - sent.scheduled for sent in finished) / sum(sent.input for sent in finished)
        decode = sum(sent.finish - sent.first_token for sent in finished) / sum(sent.output for sent in finished)
        return queued + prefill * prompt + decode * answer

    return s.each(latency)


def vtc_basic(s: State) -> dict[int, float]:
    options = s.options
    weight = options["input_weight"] + options["output_weight"] * options["output_ratio"]
    tokens = weight * sum(sent.input for sent in s.window() if sent.client == s.client)
    place = min(tokens / options["bucket_tokens"], len(s.accepting) - 1)

    def score(a: int, i: int) -> float:
        load = min(s.running[i] / options["most_requests"], 1)
        return options["fairness_weight"] * abs(a - place) + options["utilization_weight"] * load

    return {i: score(a, i) for a, i in enumerate(s.accepting)}


def llm_d(s: State) -> dict[int, float]:
    queued = [s.waiting[i] for i in s.accepting]
    spread = max(queued) - min(queued)
    hits_nowhere = s.longest() == 0

    def score(i: int) -> float:
        earlier = sum(s.without_hit[other] < s.without_hit[i] for other in s.accepting)
        rank = 1 - earlier / max(1, len(s.accepting) - 1)
        return (
            s.options["queue"] * ((max(queued) - s.waiting[i]) / spread if spread else 1)
            + s.options["kv"] * (1 - used_fraction(s, i))
            + s.options["prefix"] * s.hits[i] / PROMPT_TOKENS
            + s.options["load_aware"] * 0.5 * (1 - min(s.waiting[i], 128) / 128)
            + (s.options["no_hit_lru"] * rank if hits_nowhere else 0)
        )

    return s.each(lambda i: -score(i))


def used_fraction(s: State, i: int) -> float:
    return 1 - s.blank[i] / (ENGINE.num_blocks - 1)


def lmetric(s: State) -> dict[int, float]:
    return s.each(lambda i: (s.queued_prefill[i] + s.new_tokens(i)) * (s.size(i) + 1))


def linear(s: State) -> dict[int, float]:
    weight = s.options["lambda"]
    most = max(1, *s.sizes())
    return s.each(lambda i: weight * s.new_tokens(i) / PROMPT_TOKENS + (1 - weight) * s.size(i) / most)


def prefill_ps(s: State, i: int, tokens: int, decodes: int) -> float:
    chunks = ceil(tokens / (ENGINE.max_num_batched_tokens - decodes))
    return 10 * tokens + chunks * (10 * decodes + (s.decode_kv[i] if decodes else 0))


def decodes(s: State, i: int) -> int:
    return min(s.running[i], ENGINE.max_num_seqs - 1, ENGINE.max_num_batched_tokens - 1)


def ttft_ps(s: State, i: int, decodes: int) -> float:
    return prefill_ps(s, i, s.queued_prefill[i], decodes) + prefill_ps(s, i, s.new_tokens(i), decodes)


def polyserve(s: State) -> dict[int, float]:
    def tpot_ps(i: int) -> float:
        return 10 * (decodes(s, i) + 1) + s.decode_kv[i] + PROMPT_TOKENS

    def meets(i: int) -> bool:
        ttft = ttft_ps(s, i, decodes(s, i))
        return ttft <= s.options["ttft_slo_s"] * S and tpot_ps(i) <= s.options["tpot_slo_s"] * S

    feasible = {i for i in s.accepting if meets(i)}
    return s.among(feasible, lambda i: -s.size(i)) if feasible else s.each(tpot_ps)


def mooncake(s: State) -> dict[int, float]:
    """Without a pool, whose transfers are in test_rejection.py."""
    scores = s.each(lambda i: 10 * (s.queued_prefill[i] + s.new_tokens(i)))
    return scores if min(scores.values()) <= s.options["ttft_slo_s"] * S else {REJECT: 0.0}


TWINS: dict[str, Twin] = {
    "least-requests": State.fewest_requests,
    "least-tokens": lambda s: s.each(lambda i: s.queued_prefill[i] + s.decode_kv[i]),
    "vllm": lambda s: s.each(lambda i: 4 * s.waiting[i] + s.running[i]),
    "session-affinity": session_affinity,
    "consistent-hash": lambda s: s.each(lambda i: -hashed(session_key(s), i)),
    "bounded-consistent-hash": bounded_consistent_hash,
    "prefixaware": lambda s: s.each(lambda i: -(s.hits[i] // s.options["chunk_tokens"])),
    "kvaware": kvaware,
    "cache-aware": cache_aware,
    "prefix-hash": prefix_hash,
    "dynamo": dynamo,
    "prefix-cache": prefix_cache,
    "prefix-cache-preble": prefix_cache_preble,
    "least-kv-cache": lambda s: s.each(lambda i: used_fraction(s, i)),
    "throughput": throughput,
    "least-latency": least_latency,
    "vtc-basic": vtc_basic,
    "llm-d": llm_d,
    "preble": preble,
    "mooncake": mooncake,
    "simulation": lambda s: s.each(lambda i: ttft_ps(s, i, decodes(s, i))),
    "polyserve": polyserve,
    "linear": linear,
    "filter": filtered,
    "lmetric": lmetric,
    "lmetric-guarded": lmetric,  # its first choice; test_guarded.py has the guard
}
