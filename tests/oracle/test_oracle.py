"""Examples worked out by hand from docs/engine-rules.md, and the invariants on random scenarios."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from . import Engine, Group, Operation, Outcome, Row, View, run
from .routers import SplitMix64
from .scenarios import Scenario, scenarios
from .steptime import StepTables

COUNTS = np.arange(64)
NOTHING = 0 * COUNTS

DETAILED = StepTables(
    linear_ps=1000 + 10 * COUNTS,
    sequence_ps=100 * COUNTS,
    prefill_ps=COUNTS,
    prefill_pair=NOTHING + 3 * 1024,
    pairs=np.cumsum(COUNTS),
    decode_ps=7 * COUNTS,
    decode_kv_ps=NOTHING + 2,
    decode_window_ps=NOTHING + 4,
    decode_generated_ps=NOTHING + 9,
    window_tokens=12,
    prefill_step_ps=50_000,
    mixed_step_ps=60_000,
)


def linear(base_ps: int, token_ps: int) -> StepTables:
    """Steps of base_ps + token_ps a token."""
    linear_ps = base_ps + token_ps * COUNTS
    return StepTables(linear_ps, *[NOTHING] * 8, 0, 0, 0)


TEN = linear(10, 0)


def engine(num_blocks: int, block_size: int = 2, max_num_seqs: int = 8, **settings: object) -> Engine:
    """Scheduling each step on all that is known at its start, but where a test is about asynchronous scheduling."""
    options = {"max_num_batched_tokens": 60, "async_scheduling": False} | settings
    return Engine(num_blocks, block_size, max_num_seqs, **options)  # type: ignore[arg-type]


def test_prefill_then_decode() -> None:
    [outcome] = run([Row(0, 10, 5)], [Group(engine(10), DETAILED, 1)], "round-robin")
    prefill_ps = 1000 + 10 * 10 + 100 + 50_000 + 10 + 3 * 55
    # Contexts of 11 to 14 tokens, of which a window holds 12 and all beyond 10 are generated.
    decode_ps = 4 * (1010 + 100 + 7) + 2 * (11 + 12 + 13 + 14) + 4 * (11 + 12 + 12 + 12) + 9 * (1 + 2 + 3 + 4)
    assert (prefill_ps, decode_ps) == (51_375, 4_846)
    assert outcome == Outcome(
        arrival_ps=0,
        instance=0,
        hit_tokens=0,
        preemptions=0,
        first_scheduled_ps=0,
        first_token_ps=51_375,
        finish_ps=56_221,
    )


def test_chunks_cost_by_their_pairs() -> None:
    [outcome] = run([Row(0, 10, 1)], [Group(engine(10, long_prefill_token_threshold=4), DETAILED, 1)], "round-robin")
    # Chunks (4, 0), (4, 4) and (2, 8) have 10, 26 and 19 pairs: 51,174 + 51,222 + 51,179.
    assert outcome.first_token_ps == outcome.finish_ps == 153_575


def test_fractions_of_a_picosecond_are_dropped_a_chunk() -> None:
    # 10 + 26 + 19 pairs of 1.5 ps: 15 + 39 + 28.
    steps = replace(DETAILED, prefill_pair=NOTHING + 1536)
    [outcome] = run([Row(0, 10, 1)], [Group(engine(10, long_prefill_token_threshold=4), steps, 1)], "round-robin")
    assert outcome.finish_ps == 153_575 - 3 * 55 + 82


def test_decode_and_prefill_share_a_step() -> None:
    first, second = run([Row(0, 3, 3), Row(10, 5, 1)], [Group(engine(10), DETAILED, 1)], "round-robin")
    # A prefill of 3 takes 51,151; a decode with 4 KV, one of them generated, and a prefill of 5
    # 1,060 + 200 + 7 + 8 + 16 + 9 + 60,000 + 5 + 45; a decode with 5 KV, two generated, 1,165.
    assert first.first_token_ps == second.first_scheduled_ps == 51_151
    assert second.finish_ps == 112_501
    assert first.finish_ps == 113_666


def test_microbatches_of_a_pipeline() -> None:
    # Three stages of 10 tokens each: a prompt of 25 runs in one step as 10 tokens a microbatch. A context token costs
    # a chunk 6 ps.
    pipeline = {"max_num_batched_tokens": 10, "stages": 3}
    steps = replace(DETAILED, prefill_context_ps=6)
    [outcome] = run([Row(0, 25, 2)], [Group(engine(20, **pipeline), steps, 1)], "round-robin")
    prefill_ps = 1000 + 10 * 10 + 100 + 50_000 + (25 + 3 * 325) // 3
    decode_ps = 1010 + 100 + 7 + 2 * 26 + 4 * 12 + 9
    assert (outcome.first_token_ps, outcome.finish_ps) == (prefill_ps, prefill_ps + decode_ps)
    # In chunks of 10 tokens at most, one microbatch a step, there is no sharing: 2 x 10 + 5 tokens.
    [outcome] = run(
        [Row(0, 25, 1)], [Group(engine(20, long_prefill_token_threshold=10, **pipeline), steps, 1)], "round-robin"
    )
    chunks_ps = [10 + 3 * 55, 10 + 3 * 155 + 6 * 10, 5 + 3 * 115 + 6 * 20]
    assert outcome.finish_ps == 3 * 51_100 + 2 * 100 + 50 + sum(chunks_ps)
    # Four decode requests are two in the fullest microbatch.
    outcomes = run([Row(0, 2, 2)] * 4, [Group(engine(20, **pipeline), linear(100, 1), 1)], "round-robin")
    assert {outcome.finish_ps for outcome in outcomes} == {100 + 8 + 100 + 2}


def test_newest_is_preempted_and_prefilled_again() -> None:
    # Four usable blocks hold two requests of 4 tokens. For its fifth, at 20 ps, the first preempts the
    # second, which gets in again when the first has finished, at 40 ps, and then has 2 of its 4 tokens to go.
    first, second = run([Row(0, 3, 4), Row(0, 3, 4)], [Group(engine(5), TEN, 1)], "round-robin")
    assert (first.preemptions, first.finish_ps) == (0, 40)
    assert (second.preemptions, second.first_token_ps, second.finish_ps) == (1, 10, 60)
    assert (second.first_scheduled_ps, second.hit_tokens) == (0, 0)


def test_priority_victim_returns_what_this_step_scheduled() -> None:
    # The less urgent request is first in the running list. In the third step it is scheduled for one token,
    # then loses it with its blocks to the urgent one: that step has 1 token. On return it hits 2 of 4 tokens.
    rows = [Row(0, 2, 5, priority=1), Row(5, 4, 2, priority=0)]
    late, urgent = run(rows, [Group(engine(5, queue="priority"), linear(100, 1), 1)], "round-robin")
    assert (urgent.first_scheduled_ps, urgent.first_token_ps, urgent.finish_ps) == (102, 207, 308)
    assert (late.preemptions, late.finish_ps) == (1, 308 + 102 + 101 + 101)


@pytest.mark.parametrize(("input_tokens", "hit_tokens"), [(4, 2), (5, 4)])
def test_last_known_token_is_never_hit(input_tokens: int, hit_tokens: int) -> None:
    rows = [Row(0, 4, 1), Row(20, input_tokens, 1, prefix_request=0, prefix_tokens=4)]
    assert run(rows, [Group(engine(10), TEN, 1)], "round-robin")[1].hit_tokens == hit_tokens
    assert run(rows, [Group(engine(10, prefix_caching=False), TEN, 1)], "round-robin")[1].hit_tokens == 0


def test_tail_is_evicted_before_head() -> None:
    # Three usable blocks: the second request takes the blank one and the tail of the first's two.
    rows = [Row(0, 4, 1), Row(20, 4, 1), Row(40, 5, 1, prefix_request=0, prefix_tokens=4)]
    assert [outcome.hit_tokens for outcome in run(rows, [Group(engine(4), TEN, 1)], "round-robin")] == [0, 0, 2]


def test_private_copy_keeps_the_cached_block_in_use() -> None:
    views: list[View] = []

    def record(request_index: int, view: View) -> int:
        views.append(view)
        return 0

    # Two equal prompts in one step: the second hits block 0 and copies block 1. At 15 ps the first is gone;
    # the second uses block 0, its copy of block 1 and block 2, and keeps block 1 of the first: 4 of 5 blocks.
    same = {"prefix_request": 0, "prefix_tokens": 4}
    rows = [Row(0, 4, 1), Row(0, 4, 3, **same), Row(15, 5, 1, **same), Row(45, 5, 1, **same)]
    outcomes = run(rows, [Group(engine(6), TEN, 1)], record)
    assert [outcome.hit_tokens for outcome in outcomes] == [0, 2, 4, 4]
    assert [view.kv_used_fraction[0] for view in views] == [0.0, 0.0, 0.8, 0.0]
    assert [view.hit_tokens[0] for view in views] == [0, 0, 4, 4]
    assert [view.queued_prefill_tokens[0] for view in views] == [0, 4, 0, 0]
    assert [view.decode_kv_tokens[0] for view in views] == [0, 0, 5, 0]


def test_private_copies_make_a_lone_request_preempt_itself() -> None:
    # As above with four usable blocks: at 30 ps the second, alone, finds no fourth block for its seventh
    # token. It frees its copy in an empty step and hits the other three blocks in the next.
    rows = [Row(0, 4, 1), Row(0, 4, 4, prefix_request=0, prefix_tokens=4)]
    _, second = run(rows, [Group(engine(5), TEN, 1)], "round-robin")
    assert (second.preemptions, second.hit_tokens, second.finish_ps) == (1, 2, 50)


@pytest.mark.parametrize("think_ps", [0, 7])
def test_follow_up_hits_what_its_parent_generated(think_ps: int) -> None:
    # The parent's fifth token is never computed, so two of its blocks are full.
    rows = [Row(0, 3, 2), Row(0, 6, 1, parent=0, think_ps=think_ps, prefix_request=0, prefix_tokens=5)]
    parent, follow_up = run(rows, [Group(engine(10), TEN, 1)], "round-robin")
    assert parent.finish_ps == 20
    assert follow_up == Outcome(20 + think_ps, 0, 4, 0, 20 + think_ps, 30 + think_ps, 30 + think_ps)


def test_failure_at_the_end_of_an_iteration_loses_its_tokens() -> None:
    [outcome] = run([Row(0, 3, 1)], [Group(engine(10), TEN, 2)], "round-robin", operations=[Operation(10, "fail", 0)])
    assert outcome == Outcome(0, 1, 0, 0, 10, 20, 20)


def test_a_frozen_instance_takes_requests_and_does_nothing() -> None:
    rows = [Row(0, 3, 3), Row(0, 3, 9), Row(20, 3, 1)]
    operations = [Operation(15, "freeze", 0), Operation(50, "fail", 0, backoff_ps=7)]
    outcomes = run(rows, [Group(engine(99), TEN, 2)], "round-robin", operations=operations)
    assert [(one.instance, one.first_scheduled_ps, one.finish_ps) for one in outcomes] == [
        *[(1, 60, 90), (1, 0, 90), (1, 60, 70)]
    ]


def test_requests_at_the_router_go_first_when_an_instance_is_back() -> None:
    rows = [Row(25, 3, 1), Row(0, 3, 1)]
    operations = [Operation(10, "fail", 0), Operation(25, "repair", 0)]
    newcomer, given_back = run(rows, [Group(engine(10, max_num_seqs=1), TEN, 1)], "random", operations=operations)
    assert (given_back.arrival_ps, given_back.first_scheduled_ps, given_back.finish_ps) == (0, 25, 35)
    assert (newcomer.first_scheduled_ps, newcomer.finish_ps) == (35, 45)


def test_startup_drain_and_failure_while_starting() -> None:
    drained = Operation(0, "drain", 0)
    added = Operation(5, "add", 1, startup_ps=20)
    [outcome] = run([Row(0, 3, 1)], [Group(engine(10), TEN, 1)], "vllm", operations=[drained, added])
    assert outcome.first_scheduled_ps == 25
    # A failure makes the pending start-up void.
    failed, repaired = Operation(10, "fail", 1), Operation(40, "repair", 1)
    [outcome] = run([Row(0, 3, 1)], [Group(engine(10), TEN, 1)], "vllm", operations=[drained, added, failed, repaired])
    assert outcome.first_scheduled_ps == 40
    assert run([Row(0, 3, 1)], [Group(engine(10), TEN, 1)], "vllm", operations=[drained]) == [Outcome(arrival_ps=0)]


@pytest.mark.parametrize(("arrival_ps", "first_scheduled_ps"), [(5, 20), (10, 20), (11, 30), (19, 30), (20, 30)])
def test_async_arrival_waits_for_the_next_schedule(arrival_ps: int, first_scheduled_ps: int) -> None:
    # Steps start at 0, 10, 20, ..., each scheduled when the one before started.
    rows = [Row(0, 3, 9), Row(arrival_ps, 3, 1)]
    assert run(rows, [Group(engine(20, async_scheduling=True), TEN, 1)], "round-robin")[1] == Outcome(
        arrival_ps, 0, 0, 0, first_scheduled_ps, first_scheduled_ps + 10, first_scheduled_ps + 10
    )


def test_async_seat_is_used_two_steps_after_its_last() -> None:
    rows = [Row(0, 3, 1), Row(0, 3, 9), Row(0, 3, 1)]
    outcomes = run(rows, [Group(engine(20, max_num_seqs=2, async_scheduling=True), TEN, 1)], "round-robin")
    assert (outcomes[0].finish_ps, outcomes[2].first_scheduled_ps) == (10, 20)


def test_async_latecomer_at_the_head_hides_those_behind() -> None:
    # The second could run at 20 ps, but the third, more urgent and known from 15 ps on only, is before it.
    rows = [Row(0, 3, 9), Row(5, 3, 1, priority=1), Row(15, 3, 1)]
    outcomes = run(rows, [Group(engine(20, queue="priority", async_scheduling=True), TEN, 1)], "round-robin")
    assert [outcome.first_scheduled_ps for outcome in outcomes] == [0, 30, 30]


@pytest.mark.parametrize("arrival_ps", [10, 35])
def test_async_idle_engine_starts_at_once(arrival_ps: int) -> None:
    rows = [Row(0, 3, 1), Row(arrival_ps, 3, 1)]
    outcomes = run(rows, [Group(engine(20, async_scheduling=True), TEN, 1)], "round-robin")
    assert outcomes[1].first_scheduled_ps == arrival_ps


@pytest.mark.parametrize(("arrival_ps", "max_num_seqs"), [(0, 1), (5, 8)])
def test_async_empty_step_is_scheduled_afresh(arrival_ps: int, max_num_seqs: int) -> None:
    # At 10 ps nobody runs any more; a seat too few, or unknown when the step was scheduled, the second starts at once.
    rows = [Row(0, 3, 1), Row(arrival_ps, 3, 1)]
    outcomes = run(rows, [Group(engine(20, max_num_seqs=max_num_seqs, async_scheduling=True), TEN, 1)], "round-robin")
    assert outcomes[1].first_scheduled_ps == 10


def test_random_stream_is_splitmix64() -> None:
    # The first output of state 0 is 0xE220A8397B1DCDAF, of which `below` scales the upper half.
    assert SplitMix64(0).below(1000) == 0xE220A839 * 1000 // 2**32 == 883


def test_errors_name_the_field_and_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"router: unknown 'lmetrics'; did you mean 'lmetric'\?"):
        run([Row(0, 1, 1)], [Group(engine(10), TEN, 1)], "lmetrics")
    with pytest.raises(ValueError, match=r"rows\[0\]: needs 4 KV blocks of the 3 "):
        run([Row(0, 7, 2)], [Group(engine(4), TEN, 1)], "random")
    with pytest.raises(ValueError, match=r"rows\[1\].prefix_tokens: 4 is not within .* use 0..3"):
        run([Row(0, 2, 1), Row(0, 9, 1, prefix_request=0, prefix_tokens=4)], [Group(engine(10), TEN, 1)], "random")


@settings(max_examples=100, deadline=None)
@given(scenarios())
def test_invariants_hold_in_random_scenarios(scenario: Scenario) -> None:
    arguments = vars(scenario)
    outcomes = run(**arguments, check=True)
    assert run(**arguments, check=False) == outcomes, "the same scenario has the same outcome"
    if not scenario.operations:
        assert all((outcome.finish_ps >= 0) != outcome.rejected for outcome in outcomes)
