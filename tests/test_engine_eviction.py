"""Eviction policies inside the engine: kernel and oracle forget the same blocks, and the blocks that they should."""

from dataclasses import replace
from math import exp
from random import Random

import pytest
from harness import (
    TRACES,
    after_every_event,
    assert_agreement,
    assert_calls_change_nothing,
    examples,
    flat_steps,
    rows_of,
    run_kernel,
)
from hypothesis import given
from hypothesis import strategies as st
from kernel_invariants import check_state
from oracle import Engine, Group, Row, run
from oracle.eviction import POLICIES, decay
from oracle.scenarios import Scenario
from test_agreement import hardly_enough_blocks, qwen_scenario

from sim.kernel.state import EVICTIONS
from sim.simulation import kernel_requests
from workloads import BUILTINS, load
from workloads.compose import generate

MOST_TOKENS = 40


def popular_rows(random: Random, count: int, classes: int, span_ps: int) -> list[Row]:
    """Prompts that branch off a few roots, some of them far more often than others, one after another."""
    times_ps = sorted(random.randint(0, span_ps) for _ in range(count))
    rows: list[Row] = []
    for index, at_ps in enumerate(times_ps):
        source, shared = min(random.randrange(1 + index // 6), random.randrange(1 + index // 6)), 0
        if random.random() < 0.4:
            source = random.randrange(count)
        if source < index:
            sequence_tokens = rows[source].input_tokens + rows[source].output_tokens
            shared = min(random.choice([sequence_tokens, random.randint(1, sequence_tokens)]), MOST_TOKENS - 10)
        rows.append(
            Row(
                arrival_ps=at_ps,
                input_tokens=max(1, shared + random.choice([0, 1, 2, 4])),
                output_tokens=random.choice([1, 2, 5]),
                prefix_request=source if shared else -1,
                prefix_tokens=shared,
                reuse_class=random.randrange(classes),
            )
        )
    return rows


@st.composite
def crowded_caches(draw: st.DrawFn) -> Scenario:
    """Prefixes of uneven popularity, few requests at a time, and a cache that holds a part of what is used again."""
    random = Random(draw(st.integers(0, 2**32 - 1)))
    block_size = draw(st.integers(1, 4))
    instances = draw(st.integers(1, 2))
    count = draw(st.integers(10, 120))
    rows = popular_rows(random, count, draw(st.integers(1, 4)), count * draw(st.sampled_from([1, 20, 60])))
    engine = Engine(
        num_blocks=2 + MOST_TOKENS // block_size + draw(st.integers(0, 40)),
        block_size=block_size,
        max_num_seqs=draw(st.integers(1, 4)),
        max_num_batched_tokens=draw(st.sampled_from([8, 64])),
        reserve_full_sequence=draw(st.booleans()),
        eviction=draw(st.sampled_from(POLICIES)),
    )
    router = draw(st.sampled_from(["round-robin", "lmetric"]))
    return Scenario(rows, [Group(engine, flat_steps(10), instances)], router, draw(st.integers(0, 99)), operations=[])


@examples(400)
@given(crowded_caches())
def test_crowded_caches_agree(scenario: Scenario) -> None:
    assert_agreement(scenario)


@examples(60)
@given(crowded_caches(), st.integers(0, 2**32))
def test_when_the_kernel_is_called_changes_nothing(scenario: Scenario, seed: int) -> None:
    assert_calls_change_nothing(scenario, seed)


@examples(40)
@given(crowded_caches())
def test_the_kernels_state_is_sound_after_every_event(scenario: Scenario) -> None:
    with after_every_event(check_state):
        run_kernel(scenario)


@pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")
@pytest.mark.parametrize("eviction", POLICIES)
def test_mooncake_traces_agree(eviction: str) -> None:
    rows = rows_of(load(TRACES / "mooncake_conversation_trace.jsonl.gz", "mooncake").head(300))
    rows = [replace(row, arrival_ps=row.arrival_ps // 2, reuse_class=min(3, row.prefix_tokens // 2000)) for row in rows]
    engine = hardly_enough_blocks(rows)
    state = assert_agreement(qwen_scenario(rows, 2, "lmetric", eviction=eviction, **engine)).state
    assert state.req["preemptions"].sum() > 0
    assert state.inst["evicted"].sum() > 0 and state.req["hit"].sum() > 0


@pytest.mark.parametrize("eviction", POLICIES)
def test_conversations_agree(eviction: str) -> None:
    """Follow-ups hit what their parents generated; classes are those of the categories and turns."""
    pool = BUILTINS["chatbot"].pool(rate_per_s=60.0, clients=8, between_s=1.0)
    workload = generate(pool, seed=3, duration_s=10.0).head(400)
    classes = kernel_requests(workload).reuse_class.tolist()
    assert len(set(classes)) > 2
    rows = [replace(row, reuse_class=one) for row, one in zip(rows_of(workload), classes, strict=True)]
    scenario = qwen_scenario(rows, 2, "lmetric", eviction=eviction, **hardly_enough_blocks(rows))
    assert assert_agreement(scenario).state.inst["evicted"].sum() > 0


# --- what goes first --------------------------------------------------------------------------------------------------

BLOCKS = 6  # those of three such requests


def alone(rows: list[Row], usable_blocks: int, eviction: str) -> Scenario:
    """Requests on one instance with blocks of two tokens."""
    engine = Engine(1 + usable_blocks, 2, max_num_seqs=4, max_num_batched_tokens=64, eviction=eviction)
    return Scenario(rows, [Group(engine, flat_steps(10), 1)], "round-robin", 0, [])


def hits(eviction: str, prompts: str, classes: str = "") -> list[int]:
    """Hit tokens of prompts that come every 1000 ps: 4 tokens, alike where the letters are, and one of their own.

    The 4 tokens of three of them fit into the cache at a time.
    """
    rows: list[Row] = []
    for index, letter in enumerate(prompts):
        first = prompts.index(letter)
        rows.append(
            Row(
                arrival_ps=1000 * index,
                input_tokens=5,
                output_tokens=1,
                prefix_request=first if first < index else -1,
                prefix_tokens=4 if first < index else 0,
                reuse_class=int(classes[index]) if classes else 0,
            )
        )
    scenario = alone(rows, BLOCKS + 1, eviction)  # and one block for the token of its own
    assert_agreement(scenario)
    return [outcome.hit_tokens for outcome in run(**vars(scenario))]


# By policy: prompts, their reuse classes, and which of them hit.
FORGOTTEN: dict[str, list[tuple[str, str, str]]] = {
    "lru": [("ABCADAB", "", "0001010")],
    "fifo": [("ABCADBA", "", "0001010")],  # what came in first
    "lfu": [("AAABCDEA", "", "01100001"), ("AAABCDEFGHA", "", "01100000001")],
    # A is used three times. Of those that come after, each enters above the one that had to go for it.
    "gdsf": [("AAABCDEA", "", "01100001"), ("AAABCDEFGHA", "", "01100000000")],
    # Class 1 was never used again; class 0 was, after the time that has passed.
    "workload-aware": [("AABCDA", "000111", "010001"), ("AABCDA", "000000", "010000")],
}


@pytest.mark.parametrize(
    ("eviction", "prompts", "classes", "hit"),
    [(eviction, *case) for eviction, cases in FORGOTTEN.items() for case in cases],
)
def test_what_it_forgets(eviction: str, prompts: str, classes: str, hit: str) -> None:
    assert hits(eviction, prompts, classes) == [4 * int(one) for one in hit]


@pytest.mark.parametrize("eviction", POLICIES)
def test_a_block_stays_while_one_that_continues_it_does(eviction: str) -> None:
    """What is forgotten of a prompt is its end: of four blocks, the first two are hit."""
    rows = [Row(0, 9, 1), Row(1000, 5, 1), Row(2000, 9, 1, prefix_request=0, prefix_tokens=8)]
    scenario = alone(rows, 5, eviction)
    assert_agreement(scenario)
    assert run(**vars(scenario))[-1].hit_tokens == 4


def test_kernel_and_oracle_have_the_same_policies_and_each_has_cases() -> None:
    assert EVICTIONS == POLICIES
    assert FORGOTTEN.keys() == set(POLICIES), "add prompts for a new policy"


@pytest.mark.parametrize("x", [0.0, 1e-9, 0.1, 1.0, 5.0, 20.0])
def test_decay_is_an_exponential(x: float) -> None:
    assert decay(x) == pytest.approx(exp(-x), rel=2e-3)


def test_decay_vanishes_far_out() -> None:
    assert decay(1e18) == 0.0
