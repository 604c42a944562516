"""Examples of the batching policies and queue orders, worked out by hand from docs/engine-rules.md."""

from fractions import Fraction

import numpy as np
import pytest

from . import Engine, Group, Outcome, Row, StepTables, run
from .batching import SGLang
from .eviction import ReuseLaws
from .instance import Instance
from .queues import MOST_MATCHED
from .request import make_requests
from .tiers import Pool

NOTHING = np.zeros(400, np.int64)
TEN = StepTables(NOTHING + 10, *[NOTHING] * 8, 0, 0, 0)
BY_TOKENS = StepTables(100 + np.arange(400), *[NOTHING] * 8, 0, 0, 0)


def outcomes(
    rows: list[Row], batching: str, num_blocks: int = 100, steps: StepTables = TEN, **options: object
) -> list[Outcome]:
    """One instance with blocks of 2 tokens, which schedules on all that is known."""
    settings = {"max_num_seqs": 8, "max_num_batched_tokens": 60, "async_scheduling": False} | options
    engine = Engine(num_blocks, 2, batching=batching, **settings)  # type: ignore[arg-type]
    return run(rows, [Group(engine, steps, 1)], "round-robin")


def starts(found: list[Outcome]) -> list[int]:
    return [outcome.first_scheduled_ps for outcome in found]


def ends(found: list[Outcome]) -> list[int]:
    return [outcome.finish_ps for outcome in found]


# --- SGLang -----------------------------------------------------------------------------------------------------------


def test_sglang_decode_pauses_while_there_is_prefill() -> None:
    # The first decodes in the step of 10 ps; those of 20 and 30 ps prefill 6 and 2 tokens of the second.
    found = outcomes([Row(0, 3, 4), Row(15, 8, 1)], "sglang", max_num_batched_tokens=8, max_num_seqs=6)
    assert (starts(found), ends(found)) == ([0, 20], [50, 30])
    found = outcomes([Row(0, 3, 4), Row(15, 8, 1)], "sglang", max_num_batched_tokens=6, max_num_seqs=6)
    assert (starts(found), ends(found)) == ([0, 20], [60, 40])


def test_sglang_steps_hold_prefill_or_decode_alone() -> None:
    # 103 for the prompt; 101 for a decode; 108 for the other prompt; 101 each for the two tokens left.
    found = outcomes([Row(0, 3, 4), Row(150, 8, 1)], "sglang", steps=BY_TOKENS)
    assert (found[1].first_scheduled_ps, found[1].finish_ps) == (204, 312)
    assert found[0].finish_ps == 312 + 2 * 101


def test_sglang_prompts_behind_a_chunked_one_fill_its_last_step() -> None:
    found = outcomes([Row(0, 10, 1), Row(0, 3, 1), Row(0, 3, 1)], "sglang", max_num_batched_tokens=8)
    # 8 tokens; 2 + 3 + 3 tokens.
    assert (starts(found), ends(found)) == ([0, 10, 10], [20, 20, 20])


@pytest.mark.parametrize(("num_blocks", "start_ps"), [(22, 10), (21, 110)])
def test_sglang_admits_what_the_estimate_leaves_room_for(num_blocks: int, start_ps: int) -> None:
    # At 10 ps the first has 4 tokens in 2 blocks and may generate 10 more: 7 tokens at a ratio of 0.7. The second needs
    # 21 + 8 + 2 = 31 tokens. That is room for 38 in 19 blocks, beside the 2: 21 usable ones.
    found = outcomes([Row(0, 4, 11), Row(5, 21, 8)], "sglang", num_blocks=num_blocks)
    assert starts(found) == [0, start_ps]


def test_sglang_requests_of_one_batch_count_all_their_output() -> None:
    # The first takes 2 blocks and has 11 tokens to generate, all of which count: 31 + 11 tokens are 21 blocks.
    rows = [Row(0, 4, 11), Row(0, 21, 8)]
    assert starts(outcomes(rows, "sglang", num_blocks=24)) == [0, 0]
    # Full, the batch admits nobody before somebody finishes, although the ratio would allow it one step later.
    assert starts(outcomes(rows, "sglang", num_blocks=23)) == [0, 110]


def test_sglang_retracts_the_fewest_generated_then_the_longest_prompt() -> None:
    # Prompts of 2, 4 and 4 tokens fill 5 of 7 blocks, so that there are 2 for the first decode step, in which each
    # needs one. All have generated one token; of the longest prompts the newest goes.
    settings = {"max_num_seqs": 8, "max_num_batched_tokens": 60, "prefix_caching": False}
    instance = Instance(0, Group(Engine(8, 2, batching="sglang", **settings), TEN, 1), ReuseLaws(), Pool(0), 0)
    requests = make_requests([Row(0, 2, 30), Row(0, 4, 20), Row(0, 4, 10)], 2)
    for request in requests:
        request.in_prefill = True
        instance.running.append(request)
        instance.schedule(request, request.row.input_tokens)
    instance.end_step(10)
    policy = instance.policy
    assert isinstance(policy, SGLang)
    policy._decode(10)
    assert list(instance.scheduled) == instance.running == requests[:2]
    assert instance.waiting == requests[2:]
    # (2 generated + 20 x 2) / (30 + 20 + 1)
    assert policy.ratio == Fraction(42 * 300_000 // 51, 300_000)
    # The others have the 2 free blocks until they hold 6 and 8 tokens. Then the longer prompt goes, to the back.
    for _ in range(4):
        instance.end_step(10)
        policy._decode(10)
    assert instance.running == requests[:1] and instance.waiting == [requests[2], requests[1]]
    assert policy.ratio == Fraction((5 + 20) * 300_000 // 31, 300_000)


def test_sglang_ratio_decays_to_its_last_in_600_decode_steps_and_starts_afresh_when_idle() -> None:
    instance = Instance(
        0, Group(Engine(500, 2, batching="sglang", prefix_caching=False), TEN, 1), ReuseLaws(), Pool(0), 0
    )
    [request] = make_requests([Row(0, 2, 700)], 2)
    instance.join(request, 0)
    policy = instance.policy
    assert isinstance(policy, SGLang)
    ratios = []
    decay = policy.DECAY_A_STEP
    for now_ps in range(0, 6050, 10):
        instance.start_step(now_ps)
        instance.end_step(now_ps + 10)
        ratios.append(policy.ratio)
    assert ratios[:3] == [Fraction(7, 10), Fraction(7, 10) - decay, Fraction(7, 10) - 2 * decay]
    assert ratios[599] > ratios[600] == ratios[604] == Fraction(98, 1000)
    assert all((ratio * policy.DENOMINATOR).denominator == 1 for ratio in ratios)
    instance.start_step(6060)  # 10 ps after the end of the last
    assert policy.ratio == Fraction(7, 10) - decay


# --- Sarathi, Orca, static batches ------------------------------------------------------------------------------------


def test_sarathi_gives_prompts_what_decode_leaves_of_the_budget() -> None:
    # A budget of 4: the second prefills 3 tokens beside the first's token, at 10 and at 20 ps, then 1.
    found = outcomes([Row(0, 4, 9), Row(5, 7, 1)], "sarathi", chunk_tokens=4)
    assert (found[1].first_scheduled_ps, found[1].finish_ps) == (10, 40)
    # The whole budget is the one's token: the other waits until that one is finished.
    found = outcomes([Row(0, 1, 3), Row(5, 2, 1)], "sarathi", chunk_tokens=1)
    assert (starts(found), ends(found)) == ([0, 30], [30, 50])


def test_sarathi_chunks_are_first_come_first_served() -> None:
    rows = [Row(0, 8, 1), Row(0, 1, 3)]
    assert ends(outcomes(rows, "sarathi", chunk_tokens=9)) == [10, 30]
    # In steps of 3 tokens: 3; 3; 2 and the other's prompt.
    assert ends(outcomes(rows, "sarathi", chunk_tokens=3)) == [30, 50]
    # Capped at 2 tokens a step, the first leaves one to the other from the start.
    assert ends(outcomes(rows, "sarathi", chunk_tokens=3, long_prefill_token_threshold=2)) == [40, 30]


def test_sarathi_decode_exceeds_a_small_budget() -> None:
    rows = [Row(0, 1, 4), Row(0, 1, 4), Row(0, 1, 4)]
    # One prompt a step until decode has used the budget of 2: the third waits for the first to finish.
    assert starts(outcomes(rows, "sarathi", chunk_tokens=2)) == [0, 0, 40]


def test_orca_prefills_prompts_whole() -> None:
    # 40 + 30 tokens do not fit into a step of 60; the second runs whole in the next one, beside decode.
    found = outcomes([Row(0, 40, 3), Row(0, 30, 1)], "orca", steps=BY_TOKENS)
    assert starts(found) == [0, 140]
    assert found[1].finish_ps == 140 + 131


@pytest.mark.parametrize(("num_blocks", "start_ps"), [(9, 0), (8, 40)])
def test_orca_reserves_the_whole_output(num_blocks: int, start_ps: int) -> None:
    # 4 + 4 - 1 tokens are 4 blocks each, of which the prompts take 2.
    found = outcomes([Row(0, 4, 4), Row(0, 4, 4)], "orca", num_blocks=num_blocks)
    assert starts(found) == [0, start_ps]
    assert [outcome.preemptions for outcome in found] == [0, 0]


def test_a_static_batch_runs_until_all_of_it_have_finished() -> None:
    rows = [Row(0, 3, 1), Row(0, 3, 5), Row(0, 3, 1), Row(5, 3, 1)]
    found = outcomes(rows, "static", max_num_seqs=2)
    assert (starts(found), ends(found)) == ([0, 0, 50, 50], [10, 50, 60, 60])
    # Asynchronous scheduling changes nothing: no batch is scheduled while another runs.
    assert outcomes(rows, "static", max_num_seqs=2, async_scheduling=True) == found


# --- orders of the queue ----------------------------------------------------------------------------------------------


def test_shortest_prompts_come_first() -> None:
    rows = [Row(0, 3, 2), Row(5, 9, 1), Row(6, 4, 1), Row(7, 4, 1)]
    assert starts(outcomes(rows, "vllm", queue="shortest-prompt", max_num_seqs=1)) == [0, 40, 20, 30]


def test_the_longest_prompt_is_preempted_first() -> None:
    # Five usable blocks: at 10 ps both need another one and there is none left.
    rows = [Row(0, 6, 3), Row(0, 4, 3)]
    assert [one.preemptions for one in outcomes(rows, "vllm", 6, queue="shortest-prompt")] == [1, 0]
    assert [one.preemptions for one in outcomes(rows, "vllm", 6)] == [0, 1]


def test_longest_prefix_match_is_evaluated_when_admissions_begin() -> None:
    # When the first has finished, what it computed is in the cache: of those that wait the last hits most.
    rows = [
        Row(0, 8, 3),
        Row(1, 9, 1),
        Row(2, 9, 1, prefix_request=0, prefix_tokens=4),
        Row(3, 9, 1, prefix_request=0, prefix_tokens=8),
        Row(4, 9, 1),
    ]
    assert starts(outcomes(rows, "vllm", queue="longest-prefix-match", max_num_seqs=1)) == [0, 50, 40, 30, 60]


def test_longest_prefix_match_is_first_come_first_served_in_long_queues() -> None:
    hit = {"prefix_request": 0, "prefix_tokens": 2}
    rows = [Row(0, 2, 3), *[Row(1, 3, 1)] * MOST_MATCHED, Row(2, 3, 1, **hit)]
    found = outcomes(rows, "vllm", num_blocks=300, queue="longest-prefix-match", max_num_seqs=1)
    # With 129 waiting the second is first; with 128 the last is.
    assert (found[1].first_scheduled_ps, found[-1].first_scheduled_ps) == (30, 40)
