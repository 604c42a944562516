"""Every routing policy in states made by hand: three instances, a prompt of 100 tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pytest
from policy_twins import hashed
from router_states import Choice

from sim.kernel.routing import ROUTERS
from sim.kernel.state import REJECT

S = 10**12  # ps
SEEDS = 30  # of which each breaks ties its own way
ANY = {0, 1, 2}


class Case(NamedTuple):
    """What it may choose for ``request``, given what it sees and after ``before``."""

    chosen: set[int]
    seen: Mapping[str, Sequence[int]] = {}
    options: Mapping[str, float] = {}
    before: Callable[[Choice], object] = Choice.see
    session: Sequence[int] | None = None
    client: Sequence[int] | None = None
    request: int = 0
    shared_tokens: int = 0

    def choices(self, name: str, options: Mapping[str, float]) -> set[int]:
        """All that the policy chooses in this state with these options."""
        found = set()
        for seed in range(SEEDS):
            choice = Choice(
                name, options, seed=seed, session=self.session, client=self.client, shared_tokens=self.shared_tokens
            )
            self.before(choice)
            found.add(choice.see(**self.seen).of(self.request))
        return found


def sent(*decisions: tuple[int, int, int]) -> Callable[[Choice], Choice]:
    """(request, instance, new tokens), all at time 0."""

    def note(choice: Choice) -> Choice:
        for decision in decisions:
            choice.sent(*decision)
        return choice

    return note


def later(seconds: int, before: Callable[[Choice], Choice]) -> Callable[[Choice], Choice]:
    """The clock is so far beyond what was before."""

    def wait(choice: Choice) -> Choice:
        before(choice).sim.cluster["clock"] = seconds * S
        return choice

    return wait


def served(*requests: tuple[int, int, int, int, int, int]) -> Callable[[Choice], Choice]:
    """(instance, prompt, answer, seconds queued, in prefill, in decode) of requests 1, 2, ..., sent at time 0."""

    def note(choice: Choice) -> Choice:
        for request, (instance, prompt, answer, queued_s, prefill_s, decode_s) in enumerate(requests, 1):
            ends = queued_s * S, (queued_s + prefill_s) * S, (queued_s + prefill_s + decode_s) * S
            choice.sim.req[request]["input"] = prompt
            choice.sent(request, instance).ended(request, answer, *ends)
        return choice

    return note


def first_hashed(key: int, among: Sequence[int] = (0, 1, 2)) -> int:
    return max(among, key=lambda i: hashed(key, i))


def cold_requests_at(*times: int) -> Callable[[Choice], None]:
    """When last each instance got a request that hit nowhere."""

    def note(choice: Choice) -> None:
        choice.sim.recent["without_hit"] = times

    return note


def hot_prefix_on_0(choice: Choice) -> Choice:
    """All that was sent had the prompt of request 0, which instance 0 alone has cached; two in a row preferred it."""
    choice.see(hits=[90, 0, 0])
    for _ in range(5):
        choice.sent(0, 0, 10)
    assert [choice.of(0), choice.of(0)] == [0, 0]
    return choice


def hot_no_more(choice: Choice) -> Choice:
    """Of what was sent in the last minute, nothing had it."""
    later(61, hot_prefix_on_0)(choice)
    return sent((1, 1, 100), (2, 2, 100), (3, 1, 100))(choice)


def homes(*instances: int) -> Callable[[Choice], None]:
    """Of the sessions, in order of appearance."""

    def note(choice: Choice) -> None:
        choice.sim.home[: len(instances)] = instances

    return note


HASHED = first_hashed(0)
NEXT = first_hashed(0, [i for i in range(3) if i != HASHED])
OTHER = 3 - HASHED - NEXT


def loads(hashed_load: int, next_load: int, other_load: int) -> dict[str, list[int]]:
    """Of the instance to which key 0 hashes first, of the second and of the last."""
    by_instance = {HASHED: hashed_load, NEXT: next_load, OTHER: other_load}
    return {"waiting": [by_instance[i] for i in range(3)]}


CASES: dict[str, list[Case]] = {
    "random": [Case(ANY, {"waiting": [9, 0, 0]})],
    "round-robin": [
        Case({0}, {"waiting": [9, 0, 0]}),
        Case({2}, {"waiting": [0, 0, 9]}, before=lambda choice: [choice.of(), choice.of()]),
        Case({0}, {"waiting": [9, 0, 0]}, before=lambda choice: [choice.of(), choice.of(), choice.of()]),
    ],
    "least-requests": [
        Case({2}, {"waiting": [1, 0, 0], "running": [0, 2, 0]}),
        Case({1, 2}, {"waiting": [1, 0, 0], "running": [1, 0, 0]}),
    ],
    "least-tokens": [Case({2}, {"queued_prefill": [10, 0, 5], "decode_kv": [0, 20, 0], "waiting": [0, 0, 9]})],
    # The one with the most requests is never the better one of two.
    "power-of-two": [Case({1, 2}, {"waiting": [5, 3, 0]})],
    "vllm": [
        Case({1}, {"waiting": [1, 0, 2], "running": [0, 3, 0]}),
        Case({0, 1}, {"waiting": [1, 0, 2], "running": [0, 4, 0]}),
    ],
    "session-affinity": [
        Case({1}, {"waiting": [0, 9, 1]}, before=homes(1), session=[7, 7, 8, -1]),
        Case({1}, {"waiting": [0, 9, 1]}, before=homes(1), session=[7, 7, 8, -1], request=1),
        Case({2}, {"waiting": [5, 9, 1]}, before=homes(1), session=[7, 7, 8, -1], request=2),
        Case({2}, {"waiting": [5, 9, 1]}, before=homes(1), session=[7, 7, 8, -1], request=3),
    ],
    "consistent-hash": [
        Case({first_hashed(session)}, {"waiting": [2, 9, 9]}, session=[4, 5, 6, 4], request=request)
        for request, session in enumerate((0, 1, 2, 0))
    ],
    # Bounds 1.25 (7 + 1) / 3 = 3.3, 1.25 (8 + 1) / 3 = 3.75 and 3 (8 + 1) / 3 = 9.
    "bounded-consistent-hash": [
        Case({HASHED}, loads(3, 2, 2), session=[4, 5, 6, 4]),
        Case({NEXT}, loads(4, 2, 2), session=[4, 5, 6, 4]),
        Case({OTHER}, loads(4, 4, 0), session=[4, 5, 6, 4]),
        Case({HASHED}, loads(4, 2, 2), {"load_factor": 3}, session=[4, 5, 6, 4]),
    ],
    # Matches of 2, 2 and 1 chunks of 32 tokens; without a match all are alike.
    "prefixaware": [
        Case({0, 1}, {"hits": [64, 95, 63], "waiting": [9, 9, 0]}),
        Case({1}, {"hits": [64, 95, 63]}, {"chunk_tokens": 1}),
        Case(ANY, {"waiting": [9, 0, 0]}),
    ],
    # The match is long enough; too short; there is none at all, however short the prompt; by session; by rate in 60 s.
    "kvaware": [
        Case({1}, {"hits": [0, 50, 0], "waiting": [0, 9, 0]}),
        Case({1}, {"hits": [20, 50, 0]}, {"threshold_tokens": 50}, sent((1, 1, 0), (2, 1, 0))),
        Case({0, 2}, {"hits": [0, 49, 0]}, {"threshold_tokens": 50}, sent((1, 1, 0))),
        Case({2}, {}, {}, sent((1, 1, 0), (2, 0, 0))),
        Case({HASHED}, {"hits": [0, 0, 0]}, {}, sent((1, HASHED, 0)), session=[3, 4, 5, 6]),
        Case({2}, {}, {}, later(60, sent((1, 1, 0), (2, 0, 0)))),
        Case(ANY, {}, {}, later(61, sent((1, 1, 0), (2, 0, 0)))),
        Case({2}, {}, {"window_s": 61}, later(61, sent((1, 1, 0), (2, 0, 0)))),
    ],
    # The best match is long enough; too short; the load is unbalanced; only its difference is; only its ratio is.
    "cache-aware": [
        Case({1}, {"hits": [0, 50, 40], "waiting": [0, 5, 1]}),
        Case({2}, {"hits": [0, 30, 0], "waiting": [1, 2, 0]}),
        Case({1}, {"hits": [0, 30, 0], "waiting": [1, 2, 0]}, {"match_threshold": 0.2}),
        Case({0}, {"hits": [0, 50, 0], "running": [30, 100, 100]}),
        Case({1}, {"hits": [0, 50, 0], "running": [130, 195, 195]}),
        Case({1}, {"hits": [0, 50, 0], "running": [30, 94, 94]}),
        Case({0}, {"hits": [0, 50, 0], "running": [30, 94, 94]}, {"balance_abs": 63}),
        Case({0}, {"hits": [0, 50, 0], "running": [130, 195, 195]}, {"balance_rel": 1.4}),
    ],
    # Bounds 1.25 (11 + 1) / 3 = 5, 1.25 (12 + 1) / 3 = 5.4 and 2 (12 + 1) / 3 = 8.7.
    "prefix-hash": [
        Case({HASHED}, loads(5, 4, 2)),
        Case({OTHER}, loads(6, 4, 2)),
        Case({HASHED}, loads(6, 4, 2), {"load_factor": 2}),
        # Requests 0 and 1 have 50 tokens in common: segment 4, after those of the four requests' own tails.
        Case({first_hashed(1)}, request=1, shared_tokens=50),
        Case({first_hashed(4)}, {}, {"prefix_tokens": 50}, request=1, shared_tokens=50),
        Case({first_hashed(4)}, {}, {"prefix_tokens": 50}, request=0, shared_tokens=50),
    ],
    # Costs 100, 20 + 100, 100; with weight 2: 200, 40 + 100, 200.
    "dynamo": [
        Case({0, 2}, {"hits": [0, 80, 0], "decode_kv": [0, 100, 0]}),
        Case({1}, {"hits": [0, 80, 0], "decode_kv": [0, 100, 0]}, {"overlap_weight": 2}),
        Case({2}, {"queued_prefill": [10, 5, 0], "waiting": [0, 0, 9]}),
        Case(ANY, {"hits": [0, 80, 0]}, {"temperature": 100}),
        Case({1}, {"hits": [0, 80, 0]}, {"temperature": 0.01}),
    ],
    # Unbalanced; 5 is within a standard deviation of the mean 3 + 2.6; 7 is beyond 3.3 + 3.5; nobody has a match.
    "prefix-cache": [
        Case({2}, {"hits": [0, 50, 0], "running": [1, 9, 0]}),
        Case({0}, {"hits": [0, 50, 0], "running": [1, 5, 10]}),
        Case({1}, {"hits": [0, 50, 0], "running": [1, 5, 10]}, {"imbalance": 9}),
        Case({1}, {"hits": [0, 50, 40], "running": [0, 5, 4]}),
        Case({2}, {"hits": [0, 50, 40], "running": [0, 7, 3]}),
        Case({1}, {"hits": [0, 50, 40], "running": [0, 7, 3]}, {"deviations": 1.1}),
        Case({2}, {"running": [1, 1, 0]}),
    ],
    "prefix-cache-preble": [
        Case({1}, {"hits": [60, 60, 0], "waiting": [0, 9, 0]}, {}, sent((1, 0, 0), (2, 0, 0), (3, 1, 0))),
        Case({2}, {"hits": [50, 50, 0]}, {}, sent((1, 0, 0), (2, 1, 0))),
        Case({0, 1}, {"hits": [50, 50, 0]}, {"match_threshold": 0.4}, sent((1, 0, 0), (2, 1, 0))),
        # What this request would compute itself does not count.
        Case({1}, {"hits": [30, 0, 0]}, {}, sent((1, 0, 100), (2, 1, 90), (3, 2, 95))),
        Case({2}, {}, {}, sent((1, 0, 100), (2, 1, 100))),
        Case({0}, {}, {}, sent((1, 0, 100), (2, 1, 0), (2, 1, 0), (3, 2, 400))),
        Case({1}, {}, {"request_tokens": 0}, sent((1, 0, 100), (2, 1, 0), (2, 1, 0), (3, 2, 400))),
        Case({2}, {}, {}, later(180, sent((1, 0, 0), (2, 1, 0)))),
        Case(ANY, {}, {"window_s": 179}, later(180, sent((1, 0, 0), (2, 1, 0)))),
    ],
    "least-kv-cache": [Case({1}, {"blank": [900, 950, 800], "waiting": [0, 9, 0]})],
    # Of an answer of 100 tokens and a prompt of 10 the weighted tokens are 120; of 30 and 50, 130; of 1 and 75, 151.
    "throughput": [
        Case({1}, {}, {}, served((0, 50, 30, 1, 1, 1), (1, 10, 100, 1, 1, 1), (2, 75, 1, 1, 1, 1))),
        Case({0}, {}, {"prompt_weight": 1}, served((0, 50, 30, 1, 1, 1), (1, 10, 100, 1, 1, 1), (2, 95, 1, 1, 1, 1))),
        Case({0}, {}, {"output_weight": 2}, served((0, 50, 30, 1, 1, 1), (1, 10, 100, 1, 1, 1), (2, 95, 1, 1, 1, 1))),
        Case({2}, {}, {}, served((0, 10, 7, 1, 1, 1), (1, 10, 5, 1, 1, 1), (1, 10, 5, 1, 1, 1))),
        Case(
            {1},
            {},
            {},
            # Means, not sums: the last one counts twice.
            lambda choice: served((0, 10, 7, 1, 1, 1), (2, 10, 6, 1, 1, 1), (1, 10, 5, 1, 1, 1))(choice).sent(3, 1),
        ),
        Case({2}, {}, {}, served((0, 10, 7, 1, 1, 1), (1, 10, 5, 1, 1, 1))),
        Case({2}, {}, {"window_s": 61}, later(61, served((0, 10, 7, 1, 1, 1), (1, 10, 5, 1, 1, 1)))),
    ],
    "least-latency": [
        Case({1}, {}, {}, served((0, 100, 10, 5, 1, 1), (1, 100, 10, 0, 2, 3), (2, 100, 10, 3, 2, 2))),
        # A longer prompt, of which each token took less time: the mean prompt of 133 takes 2.7, 2 and 6.7 s.
        Case({1}, {}, {}, served((0, 100, 10, 1, 2, 2), (1, 200, 10, 1, 3, 2), (2, 100, 10, 1, 5, 2))),
        Case({1}, {}, {}, served((0, 100, 10, 1, 2, 2), (1, 100, 20, 1, 2, 3), (2, 100, 10, 1, 2, 3))),
        Case({2}, {}, {}, served((0, 100, 10, 1, 2, 2), (1, 100, 10, 1, 3, 2))),
        Case({2}, {}, {"window_s": 61}, later(61, served((0, 100, 10, 1, 2, 2), (1, 100, 10, 1, 3, 2)))),
    ],
    # A prompt of 100 and an answer of 150 are 400 weighted tokens: places 0.4, 0.8, 1.2, at last 2.
    "vtc-basic": [
        Case({0}, {"waiting": [200, 0, 0]}, {}, sent((1, 2, 0)), client=[3, 3, 3, 4]),
        Case({1}, {}, {}, sent((1, 0, 0), (2, 0, 0)), client=[3, 3, 3, 4]),
        Case({2}, {}, {}, sent(*[(1, 0, 0)] * 9), client=[3, 3, 3, 4]),
        Case({0}, {}, {}, sent(*[(3, 0, 0)] * 9), client=[3, 3, 3, 4]),
        Case({1}, {}, {"bucket_tokens": 400}, sent((1, 0, 0))),
        Case({1}, {}, {"input_weight": 7}, sent((1, 0, 0))),
        Case({1}, {}, {"output_weight": 6}, sent((1, 0, 0))),
        Case({1}, {}, {"output_ratio": 4.5}, sent((1, 0, 0))),
        Case({1}, {"running": [100, 0, 0]}, {"fairness_weight": 0.5}),
        Case({1}, {"running": [100, 0, 0]}, {"utilization_weight": 2}),
        Case({0}, {"running": [50, 0, 0]}),
        Case({0, 1}, {"running": [50, 0, 0]}, {"most_requests": 50}),
        Case({0, 1}, {"running": [95, 0, 0]}),
        Case({0}, {"running": [95, 0, 0]}, {"noise": 0}),
        Case({1}, {}, {"window_s": 301}, later(301, sent((1, 0, 0), (2, 0, 0)))),
    ],
    # Scores 0 + 2 + 2.7, 2 + 2, 2 + 2.
    "llm-d": [
        Case({0}, {"hits": [90, 0, 0], "waiting": [4, 0, 0]}),
        Case({1, 2}, {"hits": [90, 0, 0], "waiting": [4, 0, 0]}, {"prefix": 2}),
        Case({1, 2}, {"hits": [90, 0, 0], "waiting": [4, 0, 0]}, {"queue": 3}),
        Case({1}, {"blank": [900, 950, 800]}),
        Case({1, 2}, {"hits": [90, 0, 0], "blank": [700, 1000, 1000]}, {"kv": 20}),
        Case({1, 2}, {"hits": [90, 0, 0], "waiting": [10, 0, 0]}, {"load_aware": 20}),
        Case({2}, {"waiting": [200, 128, 127]}, {"queue": 0, "load_aware": 1}),
        Case({1}, {}, {"no_hit_lru": 1}, cold_requests_at(5, 3, 9)),
        Case({0, 2}, {}, {"no_hit_lru": 1}, cold_requests_at(0, 3, 0)),
        Case({2}, {"hits": [0, 0, 1]}, {"no_hit_lru": 1}, cold_requests_at(5, 3, 9)),
    ],
    "preble": [
        Case({1}, {"hits": [60, 60, 0], "queued_prefill": [5, 1, 0], "waiting": [0, 9, 0]}),
        Case({2}, {"hits": [50, 50, 0]}, {}, sent((1, 0, 0), (2, 1, 0))),
        # What this request would compute itself counts.
        Case({0}, {"hits": [30, 0, 0]}, {}, sent((1, 0, 100), (2, 1, 90), (3, 2, 95))),
        Case({1}, {}, {}, sent((1, 0, 100), (2, 1, 90), (3, 2, 95))),
        Case({2}, {}, {}, sent((1, 0, 0), (2, 1, 90), (3, 1, 95))),
        Case({1}, {}, {"request_tokens": 0}, sent((1, 0, 100), (2, 1, 0), (2, 1, 0), (3, 2, 400))),
        Case({2}, {}, {}, later(180, sent((1, 0, 0), (2, 1, 0)))),
        Case(ANY, {}, {"window_s": 179}, later(180, sent((1, 0, 0), (2, 1, 0)))),
    ],
    # Prefill of 100 queued and 10 new tokens against 100 new ones.
    "mooncake": [
        Case({1, 2}, {"hits": [90, 0, 0], "queued_prefill": [100, 0, 0]}),
        Case({0}, {"hits": [10, 0, 0], "decode_kv": [500, 0, 0], "running": [9, 0, 0]}),
        # 90 tokens take 0.9 ns at best.
        Case({REJECT}, {"hits": [10, 0, 0]}, {"ttft_slo_s": 8e-10}),
    ],
    # The steps of its decode batch delay the prefill.
    "simulation": [
        Case({1, 2}, {"hits": [10, 0, 0], "decode_kv": [500, 0, 0], "running": [9, 0, 0]}),
        Case({0}, {"hits": [50, 0, 0]}),
    ],
    # All meet the limits: the fullest; the fullest is too slow; none meets them: the one that decodes fastest.
    "polyserve": [
        Case({1}, {"running": [3, 5, 4]}),
        Case({2}, {"running": [3, 5, 4], "queued_prefill": [0, 200, 0]}, {"ttft_slo_s": 1.5e-9}),
        Case({2}, {"running": [3, 5, 4], "decode_kv": [100, 80, 50]}, {"tpot_slo_s": 1e-12}),
    ],
    # 100 x 1, (50 + 10) x 2, 100 x 1; then (50 + 10) x 1.
    "lmetric": [
        Case({0, 2}, {"hits": [0, 90, 0], "queued_prefill": [0, 50, 0], "waiting": [0, 1, 0]}),
        Case({1}, {"hits": [0, 90, 0], "queued_prefill": [0, 50, 0]}),
    ],
    # As lmetric; the third in a row to prefer the one holder; hot longer ago than the window; within a wider one.
    "lmetric-guarded": [
        Case({1}, {"hits": [0, 90, 0], "queued_prefill": [0, 50, 0]}),
        Case({1, 2}, {}, {}, hot_prefix_on_0),
        Case({0}, {}, {}, hot_no_more),
        Case({1, 2}, {}, {"window_s": 61}, hot_no_more),
    ],
    # .35 + .3, .7, .7 + .15; with .55: .275 + .45, .55, .55 + .225.
    "linear": [
        Case({0}, {"hits": [50, 0, 0], "running": [10, 0, 5]}),
        Case({1}, {"hits": [50, 0, 0], "running": [10, 0, 5]}, {"lambda": 0.55}),
    ],
    "filter": [
        Case({2}, {"hits": [0, 50, 50], "running": [0, 8, 7]}),
        Case({0}, {"hits": [0, 50, 50], "running": [0, 9, 7]}),
        Case({1}, {"hits": [0, 50, 49], "running": [0, 9, 7]}, {"range": 9}),
    ],
}
EACH = [(name, case) for name, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), EACH)
def test_choice(name: str, case: Case) -> None:
    assert case.choices(name, case.options) == case.chosen


def test_every_policy_has_cases() -> None:
    assert CASES.keys() == ROUTERS.keys(), "add hand-made states for a new policy"
    in_order = {name for name, cases in CASES.items() if all(0 in case.chosen for case in cases)}
    assert in_order <= {"random"}, "cases of which the first instance is never a wrong choice"


@pytest.mark.parametrize("name", [name for name, policy in ROUTERS.items() if policy.options])
def test_every_option_changes_a_choice(name: str) -> None:
    with_options = [case for case in CASES[name] if case.options]
    deciding = [case for case in with_options if case.choices(name, {}) != case.chosen]
    assert {option for case in deciding for option in case.options} == ROUTERS[name].options.keys()


def test_every_policy_passes_over_instances_that_do_not_accept() -> None:
    for name in ROUTERS:
        choice = Choice(name, instances=4)
        choice.accept([1, 3])
        assert {choice.of(r) for r in (0, 1, 2, 3, 0, 1)} <= {1, 3}, name


def test_a_session_moves_when_its_instance_accepts_no_more() -> None:
    choice = Choice("session-affinity", session=[7, 7, 8, -1]).see(waiting=[1, 0, 1])
    assert choice.of(0) == 1
    choice.see(waiting=[0, 9, 1]).accept([0, 2])
    assert choice.of(1) == 0, "its instance accepts no more"
    choice.accept([0, 1, 2])
    assert choice.see(waiting=[9, 0, 1]).of(1) == 0, "it has moved"


def test_consistent_hashing_moves_only_the_keys_of_an_instance_that_left() -> None:
    choice = Choice("consistent-hash", instances=16, session=[0, 1, 2, 3])
    before = [choice.of(r) for r in range(4)]
    choice.accept([i for i in range(16) if i != before[0]])
    after = [choice.of(r) for r in range(4)]
    assert after[0] != before[0]
    assert [i for i in after if i in before] == [i for i in before if i != before[0]]


def test_kvaware_spreads_requests_without_a_session_by_rate() -> None:
    choice = Choice("kvaware")
    assert sorted(choice.of(r) for r in range(3)) == [0, 1, 2], "each the one of fewest requests so far"


def test_llm_d_spreads_requests_that_hit_nowhere() -> None:
    choice = Choice("llm-d", {"queue": 0, "kv": 0, "no_hit_lru": 1})
    cold_requests_at(5, 3, 9)(choice)
    choice.sim.cluster["clock"] = 10
    order = []
    for _ in range(4):
        order.append(choice.of())
        choice.sim.cluster["clock"] += 1
    assert order == [1, 0, 2, 1]
