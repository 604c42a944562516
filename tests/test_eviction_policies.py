"""Compiled eviction policies against plain Python, and Belady's against all choices there are."""

import numpy as np
import pytest
from eviction_reference import REFERENCES, Request, most_hits, reference_replay
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.eviction import POLICIES, block_trace, find_policy, policy, replay
from workloads import Workload


@st.composite
def traces(draw, most_requests: int = 25, most_new_tokens: int = 6) -> list[Request]:
    """Prompts that begin like an earlier prompt and its answer, or anew; some arrive together."""
    requests: list[Request] = []
    time_s = 0.0
    for row in range(draw(st.integers(1, most_requests))):
        start: tuple[int, ...] = ()
        if requests and draw(st.booleans()):
            earlier = draw(st.sampled_from(requests))
            whole = earlier.tokens + earlier.output
            start = whole[: draw(st.integers(1, len(whole)))]
        own = draw(st.lists(st.integers(0, 1), min_size=0 if start else 1, max_size=most_new_tokens))
        output = tuple(100 * (row + 1) + i for i in range(draw(st.integers(1, 3))))
        time_s += draw(st.sampled_from([0.0, 0.5, 1.0, 7.0]))
        requests.append(Request(start + tuple(own), output, time_s, draw(st.integers(0, 1)), draw(st.integers(0, 9))))
    return requests


def workload_of(requests: list[Request]) -> Workload:
    sequences = [request.tokens + request.output for request in requests]
    prefix_request, prefix_tokens = [], []
    for row, request in enumerate(requests):
        shared = [common(request.tokens, sequence) for sequence in sequences[:row]]
        most = max(shared, default=0)
        prefix_request.append(shared.index(most) if most else -1)
        prefix_tokens.append(most)
    return Workload.build(
        arrival_s=[request.arrival_s for request in requests],
        input_tokens=[len(request.tokens) for request in requests],
        output_tokens=[len(request.output) for request in requests],
        category=[request.category for request in requests],
        turn=[request.turn for request in requests],
        prefix_request=prefix_request,
        prefix_tokens=prefix_tokens,
        category_names=("a", "b"),
    )


def common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def test_every_policy_has_a_reference_and_a_description():
    assert set(POLICIES) == set(REFERENCES)
    assert all(policy.description for policy in POLICIES.values())


@pytest.mark.parametrize("name", REFERENCES)
@given(requests=traces(), size=st.integers(1, 4), capacity=st.integers(1, 14))
@settings(max_examples=200, deadline=None)
def test_it_does_what_plain_python_does(name: str, requests: list[Request], size: int, capacity: int):
    done = replay(block_trace(workload_of(requests), size), find_policy(name), capacity)
    assert (done.hits.tolist(), done.evictions) == reference_replay(name, requests, size, capacity)


# By policy: prompts of a block each, one a second, their categories, and which of them hit a cache of three blocks.
FORGOTTEN: dict[str, list[tuple[str, str, str]]] = {
    "lru": [("ABCADAB", "", "0001010"), ("ABCDAB", "", "000000")],
    "fifo": [("ABCADAB", "", "0001000"), ("ABCADBA", "", "0001010")],
    "lfu": [("AABCDA", "", "010001"), ("AAABCDEFGHA", "", "01100000001")],
    # H finds A at 3 uses, and F and G above the clock of 2 that E and D left.
    "gdsf": [("AAABCDEA", "", "01100001"), ("AAABCDEFGHA", "", "01100000000")],
    "belady": [("ABCDAB", "", "000011"), ("ABCADAB", "", "0001011")],
    # A moves on to the main queue if it was used again twice.
    "s3-fifo": [("AAABCDA", "", "0110001"), ("AABCDA", "", "010000")],
    # Category 1 was never used again; category 0 was, after the second that has passed.
    "workload-aware": [("AABCDA", "000111", "010001"), ("AABCDA", "000000", "010000")],
}


@pytest.mark.parametrize(
    ("name", "prompts", "categories", "hit"),
    [(name, *case) for name, cases in FORGOTTEN.items() for case in cases],
)
def test_what_it_forgets(name: str, prompts: str, categories: str, hit: str):
    requests = [
        Request((ord(letter),) * 4, (index,), float(index), int(categories[index]) if categories else 0, 0)
        for index, letter in enumerate(prompts)
    ]
    done = replay(block_trace(workload_of(requests), 4), find_policy(name), 3)
    assert done.hits.tolist() == [int(one) for one in hit]


def test_every_policy_has_cases():
    assert FORGOTTEN.keys() == POLICIES.keys(), "add prompts for a new policy"


def test_a_new_policy_is_one_function():
    @policy("deepest")
    def _deepest(cache, b):
        """the block furthest into its prompt

        More about it.
        """
        cache.score[b] = -cache.offset[b]
        return 0

    added = POLICIES.pop("deepest")
    assert added.description == "the block furthest into its prompt"
    assert added.details == ("More about it.",)
    prompts = [((0, 0, 0), 1.0), ((1, 1), 2.0), ((2, 2), 3.0), ((0, 0, 0), 4.0), ((1, 1), 5.0)]
    requests = [Request(tokens, (100 * row + 100,), time_s, 0, 0) for row, (tokens, time_s) in enumerate(prompts)]
    assert replay(block_trace(workload_of(requests), 1), added, 5).hits.tolist() == [0, 0, 0, 1, 1]


@given(requests=traces(most_requests=7, most_new_tokens=3), size=st.integers(1, 2), capacity=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_no_choice_of_victims_hits_more_than_belady(requests: list[Request], size: int, capacity: int):
    done = replay(block_trace(workload_of(requests), size), find_policy("belady"), capacity)
    assert done.hit_blocks == most_hits(requests, size, capacity)


@given(requests=traces(), capacity=st.integers(1, 14))
@settings(max_examples=100, deadline=None)
def test_with_one_class_of_requests_workload_aware_is_lru(requests: list[Request], capacity: int):
    alike = [request._replace(category=0, turn=0) for request in requests]
    trace = block_trace(workload_of(alike), 2)
    aware, lru = (replay(trace, find_policy(name), capacity) for name in ("workload-aware", "lru"))
    assert np.array_equal(aware.hits, lru.hits)
