"""Conversations of clients: turns, times between them, and prompts that grow."""

import numpy as np
import pytest

from workloads import Workload, WorkloadError
from workloads.arrivals import Arrivals
from workloads.clients import Client, ClientPool
from workloads.compose import generate, generate_chunks, reason_tokens
from workloads.conversations import Conversation, NextTurn
from workloads.lengths import Empirical, Exponential, Lengths, LogNormal
from workloads.sharing import Documents, PrefixProfile
from workloads.workload import COLUMNS

LENGTHS = Lengths(LogNormal(50, 0.8), Exponential(80), reason_ratio=Empirical.build([0.25, 0.75], [0.5, 0.5]))


def talker(id: int, **law: object) -> Client:
    talk = Conversation(**({"turns": NextTurn((0.5, 0.8)), "between_s": Exponential(100)} | law))  # type: ignore[arg-type]
    profile = PrefixProfile(id % 2, 100, Documents(5, Exponential(60), each=2))
    return Client.build(id, Arrivals.build([0.2, 0.1]), LENGTHS, conversation=talk, prefixes=profile)


def pool_of(*clients: Client) -> ClientPool:
    return ClientPool.build("talk", [0, 500, 1000], clients)


def paths(workload: Workload) -> list[list[tuple[int, int]]]:
    """Per row, its whole sequence: each token is named by the row that had it first, and its place."""
    all_: list[list[tuple[int, int]]] = []
    for row in range(len(workload)):
        begin = all_[workload.prefix_request[row]][: workload.prefix_tokens[row]] if workload.prefix_tokens[row] else []
        end = int(workload.input_tokens[row] + workload.output_tokens[row])
        all_.append(begin + [(row, at) for at in range(len(begin), end)])
    return all_


def test_the_number_of_turns_follows_its_probabilities():
    law = NextTurn((0.5, 0.8))
    turns = law.quantile((np.arange(1_000_000) + 0.5) / 1_000_000)
    assert law.mean() == pytest.approx(3.5)
    assert turns.mean() == pytest.approx(3.5, rel=1e-3)
    reached = [np.count_nonzero(turns >= turn) for turn in range(1, 6)]
    assert np.divide(reached[1:], reached[:-1]) == pytest.approx([0.5, 0.8, 0.8, 0.8], rel=1e-3)
    assert NextTurn((0.0,)).quantile(np.array([0, 0.5, 0.999])).tolist() == [1, 1, 1]
    assert NextTurn((0.5, 0.0)).quantile(np.array([0.4, 0.5, 0.51, 0.999])).tolist() == [1, 1, 2, 2]
    assert NextTurn((0.0, 0.9)).quantile(np.array([0.0, 0.999])).tolist() == [1, 1]


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_a_turn_contains_the_one_before_exactly(loop: str):
    workload = generate(pool_of(*(talker(id, loop=loop) for id in range(4))), seed=0)
    sequences = paths(workload)
    follow_ups = np.flatnonzero(workload.turn > 0)
    assert len(follow_ups) > 300
    for row in follow_ups:
        assert workload.session[row] == workload.session[row - 1]
        assert workload.turn[row] == workload.turn[row - 1] + 1
        before = len(sequences[row - 1])
        assert sequences[row][:before] == sequences[row - 1]
        assert workload.input_tokens[row] > before
    if loop == "closed":
        assert (workload.parent[follow_ups] == follow_ups - 1).all()
        assert workload.think_s[follow_ups].mean() == pytest.approx(100, rel=0.15)
    else:
        assert (workload.parent == -1).all()
        gaps_s = workload.arrival_s[follow_ups] - workload.arrival_s[follow_ups - 1]
        assert gaps_s.min() >= 0 and gaps_s.mean() == pytest.approx(100, rel=0.15)


def test_first_requests_are_those_of_the_arrivals_in_order_of_time():
    workload = generate(pool_of(*(talker(id) for id in range(4))), seed=1)
    starts_s = workload.arrival_s[workload.turn == 0]
    assert (np.diff(starts_s) >= 0).all()
    assert len(starts_s) == pytest.approx(4 * 150, abs=4 * 600**0.5)
    assert workload.summary()["sessions"] == len(starts_s)


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_another_client_leaves_the_requests_of_the_others_as_they_are(loop: str):
    few = generate(pool_of(*(talker(id, loop=loop) for id in (0, 3))), seed=5)
    many = generate(pool_of(*(talker(id, loop=loop) for id in (4, 3, 1, 0))), seed=5)
    names = [name for name in COLUMNS if name not in ("session", "parent", "prefix_request", "prefix_tokens")]
    for id in (0, 3):
        for name in names:
            assert getattr(few, name)[few.client == id].tobytes() == getattr(many, name)[many.client == id].tobytes()


def test_the_same_seed_gives_the_same_bytes():
    pool = pool_of(talker(0), talker(1))
    assert generate(pool, seed=3) == generate(pool, seed=3)
    assert generate(pool, seed=3) != generate(pool, seed=4)


def test_a_conversation_ends_where_its_context_would():
    free = generate(pool_of(talker(0)), seed=0)
    bound = generate(pool_of(talker(0, max_context_tokens=1000)), seed=0)
    sequence_tokens = free.input_tokens + free.output_tokens
    kept = (free.turn == 0) | (sequence_tokens <= 1000)
    assert 0 < np.count_nonzero(kept) < len(free)
    for name in ("turn", "think_s", "input_tokens", "output_tokens", "arrival_s"):
        assert np.array_equal(getattr(bound, name), getattr(free, name)[kept], equal_nan=True)


def test_clients_with_and_without_conversations_mix():
    alone = Client.build(9, Arrivals.build([1.0, 1.0]), LENGTHS)
    workload = generate(pool_of(talker(0), alone), seed=0)
    mine = workload.client == 9
    assert (workload.session[mine] == -1).all() and (workload.prefix_request[mine] == -1).all()
    plain = generate(pool_of(alone), seed=0)
    assert np.array_equal(workload.arrival_s[mine], plain.arrival_s)
    assert np.array_equal(workload.input_tokens[mine], plain.input_tokens)


def test_reasoning_is_told_for_follow_ups_too():
    pool = pool_of(talker(0))
    workload = generate(pool, seed=0)
    ratio = reason_tokens(pool, workload, seed=0) / workload.output_tokens
    assert np.isin(ratio[workload.output_tokens == 4], [0.25, 0.75]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NextTurn(()), "NextTurn: probabilities are empty; give at least one"),
        (lambda: NextTurn((0.5, 1.0)), "NextTurn: probability after turn 2 must be in [0, 1), got 1.0"),
        (lambda: NextTurn((float("nan"),)), "NextTurn: probability after turn 1 must be in [0, 1), got nan"),
        (lambda: NextTurn((-0.1,)), "NextTurn: probability after turn 1 must be in [0, 1), got -0.1"),
        (lambda: talker(0, loop="close"), "Conversation: unknown loop 'close'; did you mean 'closed'?"),
        (lambda: talker(0, max_context_tokens=1), "max_context_tokens must be at least 2"),
        (lambda: generate_chunks(pool_of(talker(0)), seed=0), "pool 'talk': conversations and prefixes reach across"),
    ],
)
def test_what_is_wrong_is_said(make, message: str):
    with pytest.raises(WorkloadError) as caught:
        make()
    assert message in str(caught.value)
